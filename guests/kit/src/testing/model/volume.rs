use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
};

use super::{Common, Trouble, explore};
use crate::{
    Directory, ErrorCode, KeyValues, Result, Volume, VolumeInfo,
    sys::{self, memory},
};

/// What volumes are called: anything, since Docker lets it through.
const NAMES: [&str; 5] = ["v", "w", "a/b", "../v", "é \n"];

/// How many of them every driver has to take.
const PLAIN: usize = 2;

/// What uses of a volume are called.
const IDS: [&str; 2] = ["one", "two"];

/// What a volume driver is asked by [`volume`].
#[derive(Clone, Debug)]
pub struct VolumeModel {
    common: Common,
    driver: Driver,
    options: Vec<KeyValues>,
}

/// The methods of a driver.
#[derive(Clone, Copy, Debug)]
struct Driver {
    create: fn(&str, &KeyValues) -> Result<()>,
    remove: fn(&str) -> Result<()>,
    mount: fn(&str, &str) -> Result<Directory>,
    unmount: fn(&str, &str) -> Result<()>,
    get: fn(&str) -> Result<VolumeInfo>,
    list: fn() -> Result<Vec<VolumeInfo>>,
    path: fn(&str) -> Result<Option<Directory>>,
}

/// Asks a volume driver for volumes that are created, mounted, used by several containers, unmounted and removed, while engines and the
/// machine start again and host calls fail. What it has to do:
///
/// - A volume is there from `create` to `remove`, for `get`, `list` and `path`, under its name as it was given, with the same files. `get`
///   answers `not-found` for others, and never for it.
/// - Creating it again succeeds with the same options, and fails with others and changes nothing. Removing one that is not there succeeds.
/// - `mount` succeeds for one that is there, and for no other; `get` and `path` then name the directory that it answered. An `unmount` of
///   a use that is not known succeeds.
/// - A volume that is made under the name of one that was removed has none of its files. No two volumes have the same files.
/// - A call that fails changes nothing.
/// - When all volumes are removed, nothing is left of them.
pub fn volume<D: Volume>() -> VolumeModel {
    VolumeModel {
        common: Common::new(),
        driver: Driver {
            create: D::create,
            remove: D::remove,
            mount: D::mount,
            unmount: D::unmount,
            get: D::get,
            list: D::list,
            path: D::path,
        },
        options: vec![KeyValues::new()],
    }
}

common!(VolumeModel);

impl VolumeModel {
    /// Volumes are created with these options too, which make another volume than those that were named before.
    #[must_use]
    pub fn options<'a>(mut self, options: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.options.push(options.into_iter().collect());
        self
    }

    /// No volume can be created without options.
    #[must_use]
    pub fn needs_options(mut self) -> Self {
        self.options
            .retain(|options| options.iter().next().is_some());
        self
    }

    /// Runs it.
    ///
    /// # Errors
    /// What was found, in words: what is wrong, and the calls that lead to it.
    pub fn check(self) -> Result<(), String> {
        if self.options.is_empty() {
            return Err("there are no options to create a volume with: say them".into());
        }
        let step = Step::strategy(self.options.len());
        explore("volumes", &self.common, step, |steps| {
            World::play(&self, steps)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Create(usize, usize),
    Remove(usize),
    Mount(usize, usize),
    Unmount(usize, usize),
    Get(usize),
    Path(usize),
    List,
    Engine,
    Reboot,
}

fn at<'a>(all: &[&'a str], index: usize) -> &'a str {
    all.get(index).copied().unwrap_or_default()
}

impl Step {
    fn strategy(options: usize) -> impl Strategy<Value = Self> {
        // The same few most of the time.
        let name = || prop_oneof![4 => Just(0_usize), 2 => Just(1), 1 => 2..NAMES.len()];
        let id = || 0..IDS.len();
        prop_oneof![
            6 => (name(), 0..options).prop_map(|(name, options)| Self::Create(name, options)),
            3 => name().prop_map(Self::Remove),
            5 => (name(), id()).prop_map(|(name, id)| Self::Mount(name, id)),
            5 => (name(), id()).prop_map(|(name, id)| Self::Unmount(name, id)),
            1 => name().prop_map(Self::Get),
            1 => name().prop_map(Self::Path),
            1 => Just(Self::List),
            1 => Just(Self::Engine),
            1 => Just(Self::Reboot),
        ]
    }
}

impl Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &usize| at(&NAMES, *name);
        let id = |id: &usize| at(&IDS, *id);
        match self {
            Self::Create(volume, options) => {
                write!(f, "create {:?} with options {options}", name(volume))
            }
            Self::Remove(volume) => write!(f, "remove {:?}", name(volume)),
            Self::Mount(volume, of) => write!(f, "mount {:?} for {}", name(volume), id(of)),
            Self::Unmount(volume, of) => write!(f, "unmount {:?} for {}", name(volume), id(of)),
            Self::Get(volume) => write!(f, "get {:?}", name(volume)),
            Self::Path(volume) => write!(f, "path of {:?}", name(volume)),
            Self::List => f.write_str("list"),
            Self::Engine => f.write_str("the engine is killed and starts again"),
            Self::Reboot => f.write_str("the machine starts again"),
        }
    }
}

/// A use of a volume, as dockside counts them.
#[derive(Debug)]
struct Use {
    id: usize,
    engine: u32,
    count: u32,
}

#[derive(Debug, Default)]
struct Model {
    options: usize,
    uses: Vec<Use>,
    mounted: Option<sys::Directory>,
    /// What stands for its files, once they were seen.
    files: Option<String>,
}

struct World<'a> {
    common: &'a Common,
    driver: Driver,
    options: &'a [KeyValues],
    volumes: BTreeMap<usize, Model>,
    engine: u32,
    /// Files of volumes that were removed.
    old: BTreeSet<String>,
}

/// Whether files are known by a number of their own.
fn is_numbered(files: &str) -> bool {
    files.contains('#')
}

impl<'a> World<'a> {
    fn play(model: &'a VolumeModel, steps: &[(Step, Trouble)]) -> Result<(), String> {
        let before = model.common.begin()?;
        let mut world = Self {
            common: &model.common,
            driver: model.driver,
            options: &model.options,
            volumes: BTreeMap::new(),
            engine: 0,
            old: BTreeSet::new(),
        };
        for (step, trouble) in steps {
            world.step(*step, *trouble)?;
            world.look()?;
        }
        world.engine += 1;
        for name in 0..NAMES.len() {
            world.remove(name, Trouble::None)?;
        }
        world.look()?;
        world.common.nothing_is_left(&before)
    }

    fn step(&mut self, step: Step, trouble: Trouble) -> Result<(), String> {
        match step {
            Step::Create(name, options) => self.create(name, options, trouble),
            Step::Remove(name) => self.remove(name, trouble),
            Step::Mount(name, id) => self.mount(name, id, trouble),
            Step::Unmount(name, id) => self.unmount(name, id, trouble),
            Step::Get(name) => self.get(name, trouble),
            Step::Path(name) => self.path(name, trouble),
            Step::List => self.list(trouble),
            Step::Engine => {
                self.engine += 1;
                Ok(())
            }
            Step::Reboot => {
                self.engine += 1;
                for volume in self.volumes.values_mut() {
                    volume.uses.clear();
                    volume.mounted = None;
                }
                self.common.reboot()
            }
        }
    }

    fn create(&mut self, index: usize, options: usize, trouble: Trouble) -> Result<(), String> {
        let name = at(&NAMES, index);
        let Some(given) = self.options.get(options) else {
            return Ok(());
        };
        let answer = self
            .common
            .ask(trouble, || (self.driver.create)(name, given));
        let known = self.volumes.get(&index).map(|volume| volume.options);
        match (answer, known) {
            (Ok(()), None) => {
                let volume = Model {
                    options,
                    ..Model::default()
                };
                self.volumes.insert(index, volume);
                Ok(())
            }
            (Ok(()), Some(known)) if known == options => Ok(()),
            (Ok(()), Some(_)) => Err(format!(
                "create {name:?} succeeds, although it is there with other options: it would be taken for what it is not"
            )),
            (Err(_), Some(known)) if known != options => Ok(()),
            // Odd names may be refused.
            (Err(_), None) if index >= PLAIN => Ok(()),
            (Err(failed), _) => failed.expect(format!("create {name:?} {given:?}")),
        }
    }

    fn remove(&mut self, index: usize, trouble: Trouble) -> Result<(), String> {
        let name = at(&NAMES, index);
        let uses = self.volumes.get(&index).map(|volume| &volume.uses);
        let mut uses = uses.into_iter().flatten();
        if uses.clone().any(|one| one.engine == self.engine) {
            // The host refuses it.
            return Ok(());
        }
        // A use that its engine never ended.
        let stale = uses.next().map(|one| at(&IDS, one.id));
        let Driver {
            remove, unmount, ..
        } = self.driver;
        let answer = self.common.ask(trouble, || {
            stale.map_or(Ok(()), |id| unmount(name, id))?;
            remove(name)
        });
        match answer {
            Ok(()) => {
                let gone = self.volumes.remove(&index);
                self.old.extend(gone.and_then(|volume| volume.files));
                Ok(())
            }
            Err(failed) => failed.expect(format!("remove {name:?}")),
        }
    }

    fn mount(&mut self, index: usize, id: usize, trouble: Trouble) -> Result<(), String> {
        let (name, engine) = (at(&NAMES, index), self.engine);
        let is_there =
            |directory: &sys::Directory| memory(|memory| memory.machine.files(directory).is_some());
        let known = self.volumes.get_mut(&index);
        let ask = known.as_ref().is_none_or(|volume| {
            volume.uses.is_empty() || !volume.mounted.as_ref().is_some_and(is_there)
        });
        if ask {
            let mount = self.driver.mount;
            let answer = self.common.ask(trouble, || mount(name, at(&IDS, id)));
            let volume = match (answer, known) {
                (Err(failed), Some(_)) => return failed.expect(format!("mount {name:?}")),
                (Err(_), None) => return Ok(()),
                (Ok(_), None) => {
                    return Err(format!(
                        "mount {name:?} succeeds, and there is no such volume"
                    ));
                }
                (Ok(directory), Some(volume)) => {
                    volume.mounted = Some(directory.0);
                    volume
                }
            };
            begin(&mut volume.uses, id, engine);
            return self.see(index);
        }
        if let Some(volume) = known {
            begin(&mut volume.uses, id, engine);
        }
        Ok(())
    }

    /// Looks at the files of a volume that was mounted.
    fn see(&mut self, index: usize) -> Result<(), String> {
        let name = at(&NAMES, index);
        let mounted = self
            .volumes
            .get(&index)
            .and_then(|volume| volume.mounted.as_ref());
        let files = mounted.and_then(|place| memory(|memory| memory.machine.files(place)));
        let Some(files) = files else {
            return Err(format!("what mount {name:?} answers is not there"));
        };
        if is_numbered(&files) && self.old.contains(&files) {
            return Err(format!(
                "volume {name:?} has the files of one that was removed: {files}"
            ));
        }
        let mut others = self.volumes.iter().filter(|(other, _)| **other != index);
        if let Some((other, _)) = others.find(|(_, volume)| volume.files.as_ref() == Some(&files))
            && is_numbered(&files)
        {
            let other = at(&NAMES, *other);
            return Err(format!(
                "volumes {name:?} and {other:?} have the same files: {files}"
            ));
        }
        if let Some(volume) = self.volumes.get_mut(&index) {
            let before = volume.files.get_or_insert_with(|| files.clone());
            if *before != files {
                return Err(format!(
                    "the files of volume {name:?} were {before} and are {files}: what a container wrote is gone"
                ));
            }
        }
        Ok(())
    }

    fn unmount(&mut self, index: usize, id: usize, trouble: Trouble) -> Result<(), String> {
        let name = at(&NAMES, index);
        let unmount = self.driver.unmount;
        let Some(volume) = self.volumes.get_mut(&index) else {
            // Whatever it answers, there is nothing to change.
            let _ = self.common.ask(trouble, || unmount(name, at(&IDS, id)));
            return Ok(());
        };
        let found = volume.uses.iter().position(|one| one.id == id);
        let is_last = match found.and_then(|at| volume.uses.get(at)) {
            Some(one) => volume.uses.len() == 1 && one.count == 1,
            None if volume.uses.is_empty() => true,
            None => return Ok(()),
        };
        if is_last {
            let answer = self.common.ask(trouble, || unmount(name, at(&IDS, id)));
            if let Err(failed) = answer {
                return failed.expect(format!("unmount {name:?}"));
            }
            volume.uses.clear();
            volume.mounted = None;
            return Ok(());
        }
        if let Some(one) = found.and_then(|at| volume.uses.get_mut(at)) {
            one.count -= 1;
        }
        volume.uses.retain(|one| one.count > 0);
        Ok(())
    }

    fn get(&self, index: usize, trouble: Trouble) -> Result<(), String> {
        let name = at(&NAMES, index);
        let answer = self.common.ask(trouble, || (self.driver.get)(name));
        match (answer, self.volumes.get(&index)) {
            (Ok(info), Some(volume)) => {
                if info.name != name {
                    return Err(format!("get {name:?} answers the name {:?}", info.name));
                }
                check_place("get", name, volume, info.mountpoint.as_ref())
            }
            (Ok(_), None) => Err(format!("get {name:?} answers a volume, and there is none")),
            (Err(failed), Some(_)) if failed.error.code() == ErrorCode::NotFound => Err(format!(
                "get {name:?} answers not-found, and the volume is there: Docker would forget it ({})",
                failed.error
            )),
            (Err(failed), Some(_)) => failed.expect(format!("get {name:?}")),
            (Err(failed), None) if failed.error.code() == ErrorCode::NotFound => Ok(()),
            (Err(failed), None) => failed.expect(format!(
                "get {name:?}, which is not there, has to answer not-found: it"
            )),
        }
    }

    fn path(&self, index: usize, trouble: Trouble) -> Result<(), String> {
        let name = at(&NAMES, index);
        let answer = self.common.ask(trouble, || (self.driver.path)(name));
        match (answer, self.volumes.get(&index)) {
            (Ok(place), Some(volume)) => check_place("path", name, volume, place.as_ref()),
            (Ok(Some(_)), None) => {
                Err(format!("path {name:?} answers one, and there is no volume"))
            }
            (Err(failed), Some(_)) => failed.expect(format!("path {name:?}")),
            (_, None) => Ok(()),
        }
    }

    fn list(&self, trouble: Trouble) -> Result<(), String> {
        let listed = match self.common.ask(trouble, self.driver.list) {
            Ok(listed) => listed,
            Err(failed) => return failed.expect("list"),
        };
        let mut listed: Vec<String> = listed.into_iter().map(|info| info.name).collect();
        listed.sort_unstable();
        let mut wanted: Vec<&str> = self.volumes.keys().map(|name| at(&NAMES, *name)).collect();
        wanted.sort_unstable();
        match listed == wanted {
            true => Ok(()),
            false => Err(format!("list answers {listed:?}, and there are {wanted:?}")),
        }
    }

    /// What has to be true after each step.
    fn look(&self) -> Result<(), String> {
        self.list(Trouble::None)?;
        (0..NAMES.len()).try_for_each(|name| self.get(name, Trouble::None))
    }
}

fn begin(uses: &mut Vec<Use>, id: usize, engine: u32) {
    match uses.iter_mut().find(|one| one.id == id) {
        Some(one) if one.engine == engine => one.count += 1,
        Some(one) => (one.engine, one.count) = (engine, 1),
        None => uses.push(Use {
            id,
            engine,
            count: 1,
        }),
    }
}

/// While a volume is mounted, it is where `mount` said.
fn check_place(
    method: &str,
    name: &str,
    volume: &Model,
    place: Option<&Directory>,
) -> Result<(), String> {
    let place = place.map(|place| &place.0);
    match &volume.mounted {
        Some(mounted) if place != Some(mounted) => Err(format!(
            "{method} {name:?} answers the place {place:?} while it is mounted at {mounted:?}"
        )),
        _ => Ok(()),
    }
}
