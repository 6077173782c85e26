//! Requests for the differential test of authorization: does the engine do what the plugin judged?
//!
//! [`variants`] makes raw HTTP/1.1 requests that create or rename harmless objects, each with one or more of the tricks that make two readers
//! disagree: folded keys, repeated keys and headers, forms, encodings, framing. [`judge`] compares what the plugin recorded with what the
//! engine then has. The variant's [marker](Variant::marker) is in the names that it asks for and in its labels, so that logs can be read.
//!
//! For each variant, one after the other, on an engine that nobody else uses: send [`Variant::setup`] if there is one; inspect all the engine's
//! volumes, networks and containers, stopped ones too, into a [`State`]; forget the plugin's records; send [`Variant::request`] on a connection
//! of its own and read to the end (each asks for `Connection: close`; some are cut short, so close the sending side too); inspect again; call
//! [`judge`] with the difference; remove what is in it, and the victim. Networks must go before the next variant, because the engine's address
//! pools are few.

mod compare;
mod tricks;

use base64::Engine as _;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

pub use compare::{State, Verdict, judge};

/// What a variant asks for when it is read the plain way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `volumes/create`, name and labels in the body.
    Volume,
    /// `networks/create`, name, labels and `Internal` in the body.
    Network,
    /// `containers/create`, the name in the query, labels and privileges in the body.
    Container,
    /// `containers/NAME/rename` of a container that [`Variant::setup`] makes; the new name in the query.
    Rename,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Variant {
    /// Place in the list and the tricks: `17 container: duplicate key + chunked`.
    pub label: String,
    /// What it asks for.
    pub kind: Kind,
    /// Text in the names and labels that the request asks for, and in nothing else.
    pub marker: String,
    /// A plain request to send before, so that there is something to rename.
    pub setup: Option<Vec<u8>>,
    /// The bytes to send.
    pub request: Vec<u8>,
}

impl Variant {
    /// The name of the container that [`Variant::setup`] makes.
    pub fn victim(&self) -> String {
        victim(&self.marker)
    }

    /// [`Variant::request`] in base64, for a log from which it can be sent again.
    pub fn request_base64(&self) -> String {
        base64::prelude::BASE64_STANDARD.encode(&self.request)
    }
}

/// How the body's length is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length,
    Chunked,
    /// As the headers say, which a trick has written itself.
    Own,
}

/// A request in its parts, as the tricks change it.
#[derive(Clone, Debug)]
struct Draft {
    kind: Kind,
    marker: String,
    image: String,
    method: String,
    path: String,
    query: String,
    http: &'static str,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    /// Bytes in front of the request line.
    before: Vec<u8>,
    /// Bytes behind the body.
    after: Vec<u8>,
}

/// At least `count` requests: every trick by itself on everything it fits, then random pairs and threes. The same `seed` makes the same list.
/// Containers are made from `image`, which the engine must have; they are never started.
pub fn variants(seed: u64, count: usize, image: &str) -> Vec<Variant> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut made: Vec<Variant> = Vec::with_capacity(count);
    let kinds = [Kind::Volume, Kind::Container, Kind::Network, Kind::Rename];
    for kind in kinds {
        made.push(make(kind, &[], made.len(), seed, image, &mut random));
        for trick in tricks::ALL.iter().filter(|trick| trick.fits(kind)) {
            made.push(make(kind, &[trick], made.len(), seed, image, &mut random));
        }
    }
    while made.len() < count {
        // Networks cost the engine most.
        let kind = *[
            Kind::Volume,
            Kind::Volume,
            Kind::Container,
            Kind::Container,
            Kind::Rename,
            Kind::Network,
        ]
        .choose(&mut random)
        .unwrap_or(&Kind::Volume);
        let fitting: Vec<_> = tricks::ALL
            .iter()
            .filter(|trick| trick.fits(kind))
            .collect();
        let number = random.random_range(2..=3);
        let chosen: Vec<_> = fitting
            .choose_multiple(&mut random, number)
            .copied()
            .collect();
        made.push(make(kind, &chosen, made.len(), seed, image, &mut random));
    }
    made
}

fn make(
    kind: Kind,
    chosen: &[&tricks::Trick],
    place: usize,
    seed: u64,
    image: &str,
    random: &mut StdRng,
) -> Variant {
    // Fixed width, so that no marker is a part of another.
    let marker = format!("dsv{:04x}n{place:05}", seed & 0xffff);
    let mut draft = Draft::plain(kind, &marker, image);
    // Tricks that change the text of the body need to see it before another one chunks or pads it.
    let mut ordered = chosen.to_vec();
    ordered.sort_by_key(|trick| trick.order);
    for trick in &ordered {
        (trick.apply)(&mut draft, random);
    }
    let names: Vec<&str> = ordered.iter().map(|trick| trick.name).collect();
    let name = if names.is_empty() {
        "plain".to_owned()
    } else {
        names.join(" + ")
    };
    Variant {
        label: format!("{place} {kind:?}: {name}"),
        kind,
        setup: (kind == Kind::Rename).then(|| Draft::victim(&marker, image).bytes()),
        marker,
        request: draft.bytes(),
    }
}

fn victim(marker: &str) -> String {
    format!("{marker}v")
}

impl Draft {
    fn plain(kind: Kind, marker: &str, image: &str) -> Draft {
        let (path, query, body) = match kind {
            Kind::Volume => (
                "/v1.41/volumes/create".to_owned(),
                String::new(),
                format!(
                    r#"{{"Name":"{marker}a","Driver":"local","DriverOpts":{{}},"Labels":{{"dsv":"{marker}","level":"good"}}}}"#
                ),
            ),
            Kind::Network => (
                "/v1.41/networks/create".to_owned(),
                String::new(),
                format!(
                    r#"{{"Name":"{marker}a","Driver":"bridge","Internal":false,"Labels":{{"dsv":"{marker}","level":"good"}},"Options":{{}}}}"#
                ),
            ),
            Kind::Container => (
                "/v1.41/containers/create".to_owned(),
                format!("name={marker}a"),
                format!(
                    r#"{{"Image":"{image}","Cmd":["true"],"Labels":{{"dsv":"{marker}","level":"good"}},"HostConfig":{{"Privileged":false}}}}"#
                ),
            ),
            Kind::Rename => (
                format!("/v1.41/containers/{}/rename", victim(marker)),
                format!("name={marker}a"),
                String::new(),
            ),
        };
        Draft {
            kind,
            marker: marker.to_owned(),
            image: image.to_owned(),
            method: "POST".to_owned(),
            path,
            query,
            http: "HTTP/1.1",
            headers: if body.is_empty() {
                Vec::new()
            } else {
                vec![("Content-Type".to_owned(), "application/json".to_owned())]
            },
            body: body.into_bytes(),
            framing: Framing::Length,
            before: Vec::new(),
            after: Vec::new(),
        }
    }

    fn victim(marker: &str, image: &str) -> Draft {
        let mut draft = Draft::plain(Kind::Container, marker, image);
        draft.query = format!("name={}", victim(marker));
        draft
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = self.before.clone();
        let mut line = |text: String| out.extend_from_slice(text.as_bytes());
        let target = if self.query.is_empty() {
            self.path.clone()
        } else {
            format!("{}?{}", self.path, self.query)
        };
        line(format!(
            "{} {target} {}\r\nHost: docker\r\n",
            self.method, self.http
        ));
        for (name, value) in &self.headers {
            line(format!("{name}: {value}\r\n"));
        }
        match self.framing {
            Framing::Length => line(format!("Content-Length: {}\r\n", self.body.len())),
            Framing::Chunked => line("Transfer-Encoding: chunked\r\n".to_owned()),
            Framing::Own => {}
        }
        line("Connection: close\r\n\r\n".to_owned());
        if self.framing == Framing::Chunked {
            out.extend_from_slice(&chunked(&self.body));
        } else {
            out.extend_from_slice(&self.body);
        }
        out.extend_from_slice(&self.after);
        out
    }
}

/// `body` in two chunks.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let (first, second) = body.split_at(body.len() / 2);
    for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
        out.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        out.extend_from_slice(part);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_requests_and_every_one_has_its_own_marker() {
        let first = variants(7, 400, "busybox");
        let second = variants(7, 400, "busybox");
        assert!(first.len() >= 400);
        assert!(
            first
                .iter()
                .zip(&second)
                .all(|(a, b)| a.request == b.request && a.label == b.label)
        );
        let markers: HashSet<&str> = first
            .iter()
            .map(|variant| variant.marker.as_str())
            .collect();
        assert_eq!(markers.len(), first.len());
        for variant in &first {
            let text = String::from_utf8_lossy(&variant.request).replace('\0', "");
            assert!(text.contains(&variant.marker), "{}", variant.label);
        }
    }

    #[test]
    fn every_kind_and_every_trick_occurs() {
        let made = variants(1, 300, "busybox");
        for trick in tricks::ALL {
            assert!(
                made.iter()
                    .any(|variant| variant.label.contains(trick.name)),
                "{}",
                trick.name
            );
        }
        for kind in [Kind::Volume, Kind::Network, Kind::Container, Kind::Rename] {
            assert!(
                made.iter().filter(|variant| variant.kind == kind).count() > 20,
                "{kind:?}"
            );
        }
        assert!(
            made.iter()
                .filter(|variant| variant.request.len() > 4 << 20)
                .count()
                > 2
        );
    }
}
