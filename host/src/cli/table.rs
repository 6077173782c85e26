//! Tables for people.

/// Prints rows under headings, each column as wide as its widest cell. The last column is not padded.
pub(super) fn print<const N: usize>(headings: [&str; N], rows: &[[String; N]]) {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(&headings.map(ToOwned::to_owned), &widths);
    for row in rows {
        line(row, &widths);
    }
}

fn line<const N: usize>(cells: &[String; N], widths: &[usize; N]) {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(cell.chars().count()) + 2;
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', padding));
    }
    say!("{}", text.trim_end());
}
