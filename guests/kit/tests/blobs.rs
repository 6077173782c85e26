//! The stores and the bytes of images of the host in memory.
#![allow(clippy::unwrap_used)]

use dockside_driver::{
    Error, ErrorCode, Refusal,
    blobs::{self},
    directories::Attributes,
    images::{self, Extent, Filesystem},
    testing::{self, BlobOperation},
};

#[test]
fn blobs_are_kept_by_store_and_name() {
    testing::grant_store("a");
    testing::grant_store("b");
    testing::set_time(7);
    blobs::put("a", "x/1", b"one").unwrap();
    blobs::put("a", "x/2", b"").unwrap();
    blobs::put("a", "y", b"three").unwrap();
    assert_eq!(blobs::stores(), ["a", "b"]);
    assert_eq!(blobs::get("a", "x/1").unwrap(), b"one");
    let listed = |prefix| -> Vec<(String, u64, u64)> {
        let found = blobs::list("a", prefix).unwrap().into_iter();
        found
            .map(|blob| (blob.name, blob.size, blob.modified))
            .collect()
    };
    assert_eq!(
        listed("x/"),
        [("x/1".into(), 3, 7000), ("x/2".into(), 0, 7000)]
    );
    assert_eq!(listed("").len(), 3);
    blobs::delete("a", "x/1").unwrap();
    blobs::delete("a", "x/1").unwrap();
    let error = blobs::get("a", "x/1").unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(blobs::list("b", "").unwrap().is_empty());
    let error = blobs::put("c", "x", b"").unwrap_err();
    assert_eq!(error.refusal(), Some(Refusal::NotGranted));
}

#[test]
fn names_that_stores_cannot_have_are_refused() {
    testing::grant_store("a");
    for name in [
        "", "/", "/a", "a/", "a//b", "..", "a/../b", ".a", "A", "a b", "ä", "a\0",
    ] {
        let error = blobs::put("a", name, b"").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{name:?}");
    }
    for prefix in ["a", "/", "../", "a//", "a/b"] {
        assert!(blobs::list("a", prefix).is_err(), "{prefix:?}");
    }
}

#[test]
fn what_a_failed_call_wrote_into_a_store_stays() {
    testing::grant_store("a");
    let failed = testing::call(|| {
        blobs::put("a", "x", b"1")?;
        Err::<(), _>(Error::other("no"))
    });
    assert!(failed.is_err());
    assert_eq!(testing::blobs("a"), [("x".into(), b"1".to_vec())]);
}

#[test]
fn a_test_can_make_a_store_fail() {
    testing::grant_store("a");
    testing::judge_blobs(|operation, name| match operation {
        BlobOperation::Put if name == "x" => Err(Error::unavailable("down")),
        _ => Ok(()),
    });
    assert!(blobs::put("a", "x", b"").is_err());
    blobs::put("a", "y", b"").unwrap();
    assert!(blobs::put("a", "x", b"").is_err());
}

#[test]
fn an_image_is_carried_by_its_data() {
    let size = 8 << 20;
    images::create("a", size, Filesystem::Ext4, Attributes::default()).unwrap();
    testing::write_image("a", (1 << 20) + 1, b"hello");
    let data = images::data("a").unwrap();
    let extent = |offset| Extent {
        offset,
        length: 4096,
    };
    assert_eq!(data, [extent(0), extent(1 << 20)]);

    testing::call(|| {
        images::receive("b", size, Filesystem::Ext4)?;
        for &Extent { offset, length } in &data {
            let bytes = images::read("a", offset, u32::try_from(length).unwrap())?;
            images::write("b", offset, &bytes)?;
        }
        for error in [
            images::open("b").unwrap_err(),
            images::read("b", 0, 1).unwrap_err(),
            images::clone("b", "c").unwrap_err(),
            images::write("b", size, b"x").unwrap_err(),
            images::write("a", 0, b"x").unwrap_err(),
        ] {
            assert_eq!(error.code(), ErrorCode::InvalidArgument);
        }
        images::seal("b")
    })
    .unwrap();
    assert_eq!(images::read("b", 1 << 20, 7).unwrap(), b"\0hello\0");
    assert_eq!(images::read("b", size - 1, 7).unwrap(), b"\0");
    assert!(images::read("b", size + 1, 7).unwrap().is_empty());
    assert!(images::write("b", 0, b"x").is_err());
    let content: Vec<u64> = testing::images()
        .into_iter()
        .map(|(_, image)| image.content)
        .collect();
    assert_eq!(content[0], content[1]);

    images::receive("d", size, Filesystem::Ext4).unwrap();
    assert!(images::seal("d").is_err());
    images::delete("d").unwrap();
}
