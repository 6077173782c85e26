//! Random operations, compared with a model that says what has to be where.

// As a guard of its arm, an operation that fails would let another arm be tried.
#![allow(clippy::collapsible_match)]

use std::collections::BTreeMap;

use super::*;
use dockside_driver::{
    Error,
    testing::{BlobOperation, judge_blobs},
};

/// What is at the beginning of each block.
type Content = BTreeMap<u64, [u8; 8]>;

#[derive(Default)]
struct Model {
    volumes: BTreeMap<String, Content>,
    snapshots: BTreeMap<(String, String), Content>,
    backups: BTreeMap<String, Content>,
}

/// xorshift64*: the same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }

    fn pick<'a, K>(&mut self, mut from: impl ExactSizeIterator<Item = &'a K>) -> Option<&'a K> {
        let count = from.len() as u64;
        from.nth(self.below(count.max(1)) as usize)
    }
}

fn content(image: &str) -> Content {
    let mut found = Content::new();
    for extent in images::data(image).unwrap() {
        for block in extent.offset / 4096..(extent.offset + extent.length) / 4096 {
            let start: [u8; 8] = images::read(image, block * 4096, 8)
                .unwrap()
                .try_into()
                .unwrap();
            if start != [0; 8] {
                found.insert(block, start);
            }
        }
    }
    found
}

impl Model {
    fn compare(&self) {
        for (name, expected) in &self.volumes {
            assert_eq!(&content(&image_key(name)), expected, "volume {name}");
        }
        let names: Vec<String> = ImageDriver::list()
            .unwrap()
            .into_iter()
            .map(|info| info.name)
            .collect();
        assert_eq!(names, self.volumes.keys().cloned().collect::<Vec<_>>());
        for ((volume, name), expected) in &self.snapshots {
            assert_eq!(&content(&format!("snapshot/{volume}@{name}")), expected);
        }
        let images = self.volumes.len() + self.snapshots.len();
        assert_eq!(testing::images().len(), images);
        let backups = column(&run("backups", &[]).unwrap(), "backup");
        assert_eq!(backups.len(), self.backups.len());
        assert!(
            backups
                .iter()
                .all(|backup| self.backups.contains_key(backup))
        );
        assert!(blobs("locks/").is_empty());
    }

    fn step(&mut self, random: &mut Random, step: u64) {
        let new = format!("v{step}");
        let volume = random.pick(self.volumes.keys()).cloned();
        let snapshot = random.pick(self.snapshots.keys()).cloned();
        let backup = random.pick(self.backups.keys()).cloned();
        let operation = random.below(12);
        match (operation, volume, snapshot, backup) {
            (0, ..) if self.volumes.len() < 5 => {
                if create(&new, &[("size", "8m")]).is_ok() {
                    self.volumes.insert(new.clone(), content(&image_key(&new)));
                }
            }
            (1..=3, Some(volume), ..) => {
                let block = random.below(2048 - 1) + 1;
                let text = format!("{step:08}");
                write(&volume, block * 4096, &text);
                let bytes = text.into_bytes().try_into().unwrap();
                self.volumes.get_mut(&volume).unwrap().insert(block, bytes);
            }
            (4, Some(volume), ..) if self.snapshots.len() < 8 => {
                let name = format!("s{step}");
                if run("snapshot", &[("volume", &volume), ("name", &name)]).is_ok() {
                    let content = self.volumes[&volume].clone();
                    self.snapshots.insert((volume, name), content);
                }
            }
            (5, _, Some((volume, name)), _) => {
                if run("revert", &[("volume", &volume), ("snapshot", &name)]).is_ok() {
                    let content = self.snapshots[&(volume.clone(), name)].clone();
                    self.volumes.insert(volume, content);
                }
            }
            (6, _, Some((volume, name)), _) => {
                if run(
                    "snapshot-delete",
                    &[("volume", &volume), ("snapshot", &name)],
                )
                .is_ok()
                {
                    self.snapshots.remove(&(volume, name));
                }
            }
            (7, _, Some((volume, name)), _) if self.volumes.len() < 5 => {
                if create(&new, &[("from", &format!("{volume}@{name}"))]).is_ok() {
                    let content = self.snapshots[&(volume, name)].clone();
                    self.volumes.insert(new, content);
                }
            }
            (8, Some(volume), ..) => {
                if let Ok(made) = run("backup", &[("volume", &volume)]) {
                    let name = made["backup"].as_str().unwrap().to_owned();
                    self.backups.insert(name, self.volumes[&volume].clone());
                }
            }
            (9, _, _, Some(backup)) if self.volumes.len() < 5 => {
                if run("restore", &[("backup", &backup), ("to", &new)]).is_ok() {
                    self.volumes.insert(new, self.backups[&backup].clone());
                }
            }
            (10, _, _, Some(backup)) => match run("backup-delete", &[("backup", &backup)]) {
                Ok(_) => drop(self.backups.remove(&backup)),
                // It may be gone although its pieces could not be cleared away.
                Err(_) => {
                    judge_blobs(|_, _| Ok(()));
                    let left = column(&run("backups", &[]).unwrap(), "backup");
                    if !left.contains(&backup) {
                        self.backups.remove(&backup);
                    }
                }
            },
            (11, Some(volume), ..) if self.volumes.len() > 2 => {
                if remove(&volume).is_ok() {
                    self.volumes.remove(&volume);
                    self.snapshots.retain(|(of, _), _| *of != volume);
                }
            }
            _ => {}
        }
    }
}

/// Lets one of the coming operations on blobs fail, or none.
fn fail_some(random: &mut Random) {
    let failing = random.below(60);
    let mut count = 0;
    judge_blobs(move |operation, _| {
        count += 1;
        // A lock that cannot be deleted stays for a quarter of an hour, which is another test.
        match count == failing && operation != BlobOperation::Delete {
            true => Err(Error::unavailable("the store is down")),
            false => Ok(()),
        }
    });
}

#[test]
fn volumes_snapshots_and_backups_are_what_a_model_says() {
    for seed in 1..=20 {
        testing::reset();
        store();
        let mut random = Random(seed * 7919);
        let mut model = Model::default();
        for step in 0..100 {
            fail_some(&mut random);
            model.step(&mut random, step);
            judge_blobs(|_, _| Ok(()));
            model.compare();
        }
        for (backup, expected) in std::mem::take(&mut model.backups) {
            run("restore", &[("backup", &backup), ("to", "restored")]).unwrap();
            assert_eq!(content("volume/restored"), expected, "{backup}");
            remove("restored").unwrap();
            run("backup-delete", &[("backup", &backup)]).unwrap();
        }
        // What interrupted backups left goes with the next backup that is deleted.
        volume("last");
        let last = run("backup", &[("volume", "last")]).unwrap();
        run(
            "backup-delete",
            &[("backup", last["backup"].as_str().unwrap())],
        )
        .unwrap();
        remove("last").unwrap();
        assert!(testing::blobs("disk").is_empty(), "seed {seed}");
        for name in model.volumes.keys() {
            remove(name).unwrap();
        }
        assert!(testing::images().is_empty(), "seed {seed}");
    }
}
