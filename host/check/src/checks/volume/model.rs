//! Random operations beside a model of what a volume driver is.

use std::collections::BTreeMap;

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::common::{Place, Volumes};
use crate::Bench;
use crate::check::{Check, Kind, Level, Need, Outcome, Stop};
use crate::client::Answer;

pub(super) const CHECKS: &[Check] = &[Check {
    id: "V47",
    level: Level::Engine,
    kind: Some(Kind::Volume),
    needs: &[Need::Root],
    title: "10,000 random operations of 8 clients beside a model",
    rule: "Every answer is one that a correct driver can give: volumes are there from Create to Remove, mounted from the first Mount to the last Unmount, and keep what is written.",
    slow: true,
    run: beside_model,
}];

const CLIENTS: usize = 8;
const OPERATIONS: f64 = 10_000.0;

/// What a volume is.
#[derive(Default)]
struct Volume {
    /// Uses by ID.
    uses: BTreeMap<String, u32>,
    mark: Option<String>,
    place: Option<Place>,
}

/// A client with volumes of its own, so that it knows what each answer has to be.
struct Client<'a> {
    volumes: Volumes<'a>,
    random: StdRng,
    names: Vec<String>,
    ids: Vec<String>,
    model: BTreeMap<String, Volume>,
}

fn beside_model(bench: &Bench) -> Outcome {
    // With less patience there are fewer operations: the seed says which.
    let full = bench.patience().seconds(OPERATIONS / 1000.0).as_secs_f64() * 1000.0;
    let each = (full.clamp(400.0, OPERATIONS) / CLIENTS as f64) as usize;
    let results = bench.at_once(CLIENTS, |number| {
        let mut random = bench.random();
        let seed: u64 = random.random::<u64>() ^ number as u64;
        let mut client = Client {
            volumes: Volumes::of(bench),
            random: StdRng::seed_from_u64(seed),
            names: (0..4).map(|_| bench.name("model")).collect(),
            ids: (0..3).map(|_| bench.id()).collect(),
            model: BTreeMap::new(),
        };
        for step in 0..each {
            client
                .step()
                .map_err(|stop| stop.during(format!("operation {step} of client {number}")))?;
        }
        client.end()
    });
    results.into_iter().collect()
}

impl Client<'_> {
    fn step(&mut self) -> Outcome {
        let name = pick(&self.names, &mut self.random)?;
        let id = pick(&self.ids, &mut self.random)?;
        match self.random.random_range(0..9) {
            0 | 1 => self.create(&name),
            2 => self.remove(&name),
            3 | 4 => self.mount(&name, &id),
            5 | 6 => self.unmount(&name, &id),
            7 => self.look(&name),
            _ => self.write(&name),
        }
    }

    fn create(&mut self, name: &str) -> Outcome {
        self.volumes.create(name).succeeds()?;
        self.model.entry(name.to_owned()).or_default();
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Outcome {
        let used = self
            .model
            .get(name)
            .is_some_and(|volume| !volume.uses.is_empty());
        let answer = self.volumes.remove(name);
        if used {
            return answer.errs().map(drop);
        }
        answer.succeeds()?;
        self.model.remove(name);
        Ok(())
    }

    fn mount(&mut self, name: &str, id: &str) -> Outcome {
        let answer = self.volumes.mount(name, id);
        let Some(volume) = self.model.get_mut(name) else {
            return answer.errs().map(drop);
        };
        answer.succeeds()?;
        let place = Place::of(&answer)?;
        *volume.uses.entry(id.to_owned()).or_default() += 1;
        if let Some(before) = volume.place.as_ref().filter(|_| volume.uses.len() > 1) {
            answer.ensure(before.path == place.path, || {
                format!("it is mounted at {}", before.path.display())
            })?;
        }
        volume.place = Some(place);
        holds(&answer, self.volumes, volume)
    }

    fn unmount(&mut self, name: &str, id: &str) -> Outcome {
        let answer = self.volumes.unmount(name, id);
        let Some(volume) = self.model.get_mut(name) else {
            // An error is as good: the volume is not known.
            return match answer.is_error() {
                true => Ok(()),
                false => answer.succeeds().map(drop),
            };
        };
        answer.succeeds()?;
        if let Some(count) = volume.uses.get_mut(id) {
            *count -= 1;
            if *count == 0 {
                volume.uses.remove(id);
            }
        }
        if volume.uses.is_empty() {
            return match volume.place.take() {
                Some(place) => place.goes(self.volumes.bench, "after the last Unmount"),
                None => Ok(()),
            };
        }
        holds(&answer, self.volumes, volume)
    }

    fn look(&mut self, name: &str) -> Outcome {
        let answer = self.volumes.get(name);
        match self.model.get(name) {
            None => answer.errs().map(drop),
            Some(volume) => {
                answer.succeeds()?;
                let given = answer.text("/Volume/Mountpoint");
                let right = volume.place.as_ref().is_none_or(|place| {
                    volume.uses.is_empty() || place.path.as_os_str() == given.as_str()
                });
                answer.ensure(right, || "the mount point is another one")?;
                holds(&answer, self.volumes, volume)
            }
        }
    }

    fn write(&mut self, name: &str) -> Outcome {
        let text = format!("{:016x}", self.random.random::<u64>());
        let Some(volume) = self.model.get_mut(name) else {
            return Ok(());
        };
        if let Some(place) = volume.place.as_ref().filter(|_| !volume.uses.is_empty()) {
            place.mark(&text)?;
            volume.mark = Some(text);
        }
        Ok(())
    }

    /// Ends every use, so that the next check finds nothing.
    fn end(&mut self) -> Outcome {
        let left: Vec<(String, String)> = self
            .model
            .iter()
            .flat_map(|(name, volume)| {
                volume.uses.iter().flat_map(move |(id, count)| {
                    (0..*count).map(move |_| (name.clone(), id.clone()))
                })
            })
            .collect();
        for (name, id) in left {
            self.unmount(&name, &id)?;
        }
        for name in self.names.clone() {
            self.remove(&name)?;
        }
        Ok(())
    }
}

/// Fails unless a volume in use holds what was written last.
fn holds(answer: &Answer, volumes: Volumes<'_>, volume: &Volume) -> Outcome {
    let Some(place) = volume.place.as_ref().filter(|_| !volume.uses.is_empty()) else {
        return Ok(());
    };
    if volumes.bench.profile().volume.shared_data && volume.mark.is_none() {
        return Ok(());
    }
    let seen = place.marked();
    answer.ensure(seen == volume.mark, || {
        format!(
            "behind this answer the volume at {} holds {seen:?}, and {:?} was written last",
            place.path.display(),
            volume.mark
        )
    })
}

fn pick(from: &[String], random: &mut StdRng) -> Outcome<String> {
    from.choose(random)
        .cloned()
        .ok_or_else(|| Stop::skip("there is nothing to choose from"))
}
