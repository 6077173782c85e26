//! Tables for people.

/// Prints rows under headings, each column as wide as its widest cell. The last column is not padded.
pub(super) fn print<H: AsRef<str>, R: AsRef<[String]>>(headings: &[H], rows: &[R]) {
    let headings: Vec<String> = headings
        .iter()
        .map(|heading| heading.as_ref().to_owned())
        .collect();
    let mut widths: Vec<usize> = vec![0; headings.len()];
    for row in rows.iter().map(AsRef::as_ref).chain([headings.as_slice()]) {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    line(&headings, &widths);
    for row in rows {
        line(row.as_ref(), &widths);
    }
}

fn line(cells: &[String], widths: &[usize]) {
    let mut text = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let padding = width.saturating_sub(cell.chars().count()) + 2;
        text.push_str(cell);
        text.extend(std::iter::repeat_n(' ', padding));
    }
    say!("{}", text.trim_end());
}
