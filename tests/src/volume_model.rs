//! What volumes of the drivers `local` and `mobyfs` are, told in plain Rust, to be compared with a daemon.
//!
//! The model knows one engine. It says of each call whether it succeeds, with a part of the text if it does not, and what the machine holds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A driver that is modelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// Directories of its own.
    Local,
    /// Also directories at paths that users name.
    Mobyfs,
}

/// What `docker volume create -o` gives, in order.
pub type Options = Vec<(String, String)>;

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `VolumeDriver.Create`.
    Create(String, Options),
    /// `VolumeDriver.Remove`.
    Remove(String),
    /// `VolumeDriver.Mount` under an ID.
    Mount(String, String),
    /// `VolumeDriver.Unmount` of an ID.
    Unmount(String, String),
    /// `VolumeDriver.Get`.
    Get(String),
    /// `VolumeDriver.Path`.
    Path(String),
    /// `VolumeDriver.List`.
    List,
}

/// How a call ends: `Err` with a part of the text.
pub type Expected = Result<(), &'static str>;

/// Owner and permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

/// What a directory is made with when nothing is said.
pub const USUAL: Attributes = Attributes {
    uid: 0,
    gid: 0,
    mode: 0o755,
};

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    wish: Wish,
    /// Uses by their IDs.
    uses: BTreeMap<String, u32>,
    /// What its own directory holds; that of a path is in [`Model::paths`].
    own: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    path: Option<PathBuf>,
    uid: Option<u32>,
    gid: Option<u32>,
    mode: Option<u32>,
    share: bool,
    delete: bool,
}

/// A directory below the path that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Owner and permissions.
    pub attributes: Attributes,
    /// What was written into it last.
    pub content: Option<String>,
}

/// All that there is.
#[derive(Debug, Clone)]
pub struct Model {
    driver: Driver,
    /// The path that is granted.
    root: PathBuf,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
    /// Directories below [`Model::root`].
    pub paths: BTreeMap<PathBuf, Directory>,
}

impl Model {
    /// Nothing yet. `root` is what mobyfs is granted; `link` in it is a symbolic link.
    pub fn new(driver: Driver, root: &Path) -> Model {
        Model {
            driver,
            root: root.to_owned(),
            volumes: BTreeMap::new(),
            paths: BTreeMap::new(),
        }
    }

    /// Makes a call, and says how it ends.
    ///
    /// # Errors
    /// A part of the text with which it fails.
    pub fn call(&mut self, call: &Call) -> Expected {
        match call {
            Call::Create(name, options) => self.create(name, options),
            Call::Remove(name) => self.remove(name),
            Call::Mount(name, id) => {
                let volume = self.volumes.get_mut(name).ok_or("there is no volume")?;
                *volume.uses.entry(id.clone()).or_default() += 1;
                Ok(())
            }
            Call::Unmount(name, id) => {
                let volume = self.volumes.get_mut(name);
                if let Some(uses) = volume.map(|volume| &mut volume.uses)
                    && let Some(count) = uses.get_mut(id)
                {
                    *count -= 1;
                    uses.retain(|_, count| *count > 0);
                }
                Ok(())
            }
            Call::Get(name) | Call::Path(name) => match self.volumes.contains_key(name) {
                true => Ok(()),
                false => Err("there is no volume"),
            },
            Call::List => Ok(()),
        }
    }

    fn create(&mut self, name: &str, options: &Options) -> Expected {
        let wish = self.wish(options)?;
        if let Some(existing) = self.volumes.get(name) {
            return match existing.wish == wish {
                true => Ok(()),
                false => Err("exists already, with other options"),
            };
        }
        if let Some(path) = &wish.path {
            self.place(path, &wish)?;
        }
        let volume = Volume {
            wish,
            uses: BTreeMap::new(),
            own: None,
        };
        self.volumes.insert(name.to_owned(), volume);
        Ok(())
    }

    fn wish(&self, options: &Options) -> Result<Wish, &'static str> {
        let known: &[&str] = match self.driver {
            Driver::Local => &["uid", "gid", "mode"],
            Driver::Mobyfs => &[
                "uid",
                "gid",
                "mode",
                "mountpoint",
                "share",
                "delete-on-remove",
            ],
        };
        // The host looks at names and types of all of them before the driver does.
        if options
            .iter()
            .any(|(name, _)| !known.contains(&name.as_str()))
        {
            return Err("option");
        }
        let get = |name: &str| {
            let found = options.iter().find(|(option, _)| option == name);
            found.map(|(_, value)| value.as_str())
        };
        let number = |name: &str| match get(name) {
            None => Ok(None),
            Some(text) => match text.parse::<u32>() {
                Ok(number) if number < u32::MAX => Ok(Some(number)),
                _ => Err("option"),
            },
        };
        let switch = |name: &str| match get(name) {
            None | Some("false" | "0" | "no" | "off") => Ok(false),
            Some("true" | "1" | "yes" | "on") => Ok(true),
            Some(_) => Err("option"),
        };
        let (uid, gid) = (number("uid")?, number("gid")?);
        let (share, delete) = (switch("share")?, switch("delete-on-remove")?);
        let path = match get("mountpoint") {
            None => None,
            Some(text) => Some(normal(text).ok_or("option mountpoint=")?),
        };
        let mode = match get("mode") {
            None => None,
            Some(text) => match u32::from_str_radix(text, 8) {
                Ok(mode) if mode <= 0o7777 => Some(mode),
                _ => return Err("say permissions in octal"),
            },
        };
        if path.is_none() && (get("share").is_some() || get("delete-on-remove").is_some()) {
            return Err("goes with mountpoint");
        }
        Ok(Wish {
            path,
            uid,
            gid,
            // What `local` was told and what it takes when nothing is said are one and the same there.
            mode: mode.or((self.driver == Driver::Local).then_some(USUAL.mode)),
            share,
            delete,
        })
    }

    /// Puts a new volume at a path.
    fn place(&mut self, path: &Path, wish: &Wish) -> Expected {
        let deletes = |path: &Path| {
            self.volumes
                .values()
                .any(|volume| volume.wish.delete && volume.wish.path.as_deref() == Some(path))
        };
        if path.ancestors().skip(1).any(deletes) {
            return Err("is deleted with volume");
        }
        let is_taken = self
            .volumes
            .values()
            .any(|volume| volume.wish.path.as_deref() == Some(path));
        if is_taken && (!wish.share || deletes(path)) {
            return Err("is there, ");
        }
        if !path.starts_with(&self.root) {
            return Err("to host-paths under [grants.mounts]");
        }
        if path.starts_with(self.root.join("link")) {
            return Err("symbolic link");
        }
        if let Some(found) = self.paths.get(path) {
            let is = found.attributes;
            if wish.delete
                || wish.uid.is_some_and(|uid| uid != is.uid)
                || wish.gid.is_some_and(|gid| gid != is.gid)
                || wish.mode.is_some_and(|mode| mode != is.mode)
            {
                return Err("is there already");
            }
            return Ok(());
        }
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|part| *part != self.root && !self.paths.contains_key(*part))
            .map(Path::to_owned)
            .collect();
        for part in missing {
            let attributes = if part == path {
                wish.attributes()
            } else {
                USUAL
            };
            let content = None;
            self.paths.insert(
                part,
                Directory {
                    attributes,
                    content,
                },
            );
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Expected {
        let Some(volume) = self.volumes.get(name) else {
            return Ok(());
        };
        if !volume.uses.is_empty() {
            return Err("is in use by");
        }
        let wish = volume.wish.clone();
        self.volumes.remove(name);
        if let Some(path) = wish.path.filter(|_| wish.delete) {
            self.paths.retain(|other, _| !other.starts_with(&path));
        }
        Ok(())
    }

    /// What is in a volume.
    pub fn content(&mut self, name: &str) -> Option<&mut Option<String>> {
        let volume = self.volumes.get_mut(name)?;
        match &volume.wish.path {
            None => Some(&mut volume.own),
            Some(path) => self.paths.get_mut(path).map(|found| &mut found.content),
        }
    }

    /// Whether a volume has a place that Docker is shown.
    pub fn is_shown(&self, name: &str) -> bool {
        self.volumes
            .get(name)
            .is_some_and(|volume| volume.wish.path.is_none() || !volume.uses.is_empty())
    }

    /// How many volumes are mounted by the host.
    pub fn mounted(&self) -> usize {
        self.volumes
            .values()
            .filter(|volume| volume.wish.path.is_some() && !volume.uses.is_empty())
            .count()
    }

    /// The names of all volumes.
    pub fn names(&self) -> BTreeSet<String> {
        self.volumes.keys().cloned().collect()
    }

    /// What `docker volume inspect` shows of a volume beside its place.
    pub fn status(&self, name: &str) -> BTreeMap<String, String> {
        let mut status = BTreeMap::new();
        let Some(wish) = self.volumes.get(name).map(|volume| &volume.wish) else {
            return status;
        };
        let mut put = |name: &str, value: String| status.insert(name.to_owned(), value);
        if let Some(path) = &wish.path {
            put("mountpoint", path.display().to_string());
            put("share", wish.share.to_string());
            put("delete-on-remove", wish.delete.to_string());
        }
        for (name, id) in [("uid", wish.uid), ("gid", wish.gid)] {
            id.into_iter()
                .for_each(|id| drop(put(name, id.to_string())));
        }
        if let Some(mode) = wish.mode {
            put("mode", format!("{mode:04o}"));
        }
        status
    }
}

impl Wish {
    fn attributes(&self) -> Attributes {
        Attributes {
            uid: self.uid.unwrap_or(USUAL.uid),
            gid: self.gid.unwrap_or(USUAL.gid),
            mode: self.mode.unwrap_or(USUAL.mode),
        }
    }
}

/// One spelling of a path, if it can be a volume's.
fn normal(text: &str) -> Option<PathBuf> {
    let path = Path::new(text);
    let whole: PathBuf = path.components().collect();
    let is_fine = text.starts_with('/')
        && whole.parent().is_some()
        && !text.split('/').any(|part| part == "..")
        && !text.contains(char::is_control);
    is_fine.then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(model: &mut Model, name: &str, options: &[(&str, &str)]) -> Expected {
        let options = options
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        model.call(&Call::Create(name.to_owned(), options))
    }

    #[test]
    fn volumes_end_with_their_data_only_if_they_are_their_own_or_it_was_said() {
        let mut model = Model::new(Driver::Mobyfs, Path::new("/srv"));
        let at = ("mountpoint", "/srv//a/./b/");
        create(&mut model, "keeps", &[at]).unwrap();
        assert_eq!(model.paths.len(), 2);
        assert_eq!(create(&mut model, "other", &[at]), Err("is there, "));
        create(&mut model, "other", &[at, ("share", "yes")]).unwrap();
        let deep = ("mountpoint", "/srv/a/c");
        create(&mut model, "goes", &[deep, ("delete-on-remove", "1")]).unwrap();
        model.call(&Call::Mount("goes".into(), "1".into())).unwrap();
        assert_eq!(
            model.call(&Call::Remove("goes".into())),
            Err("is in use by")
        );
        assert_eq!(model.mounted(), 1);
        model
            .call(&Call::Unmount("goes".into(), "1".into()))
            .unwrap();
        for name in ["goes", "keeps", "other"] {
            model.call(&Call::Remove(name.into())).unwrap();
        }
        let left: Vec<_> = model.paths.keys().collect();
        assert_eq!(left, [Path::new("/srv/a"), Path::new("/srv/a/b")]);
    }

    #[test]
    fn only_mobyfs_has_paths() {
        let at = ("mountpoint", "/srv/a");
        let mut model = Model::new(Driver::Local, Path::new("/srv"));
        assert_eq!(create(&mut model, "v", &[at]), Err("option"));
        let mut model = Model::new(Driver::Mobyfs, Path::new("/srv"));
        for (path, text) in [
            ("/srv/../etc", "option mountpoint="),
            ("/", "option mountpoint="),
            ("/etc", "to host-paths under [grants.mounts]"),
            ("/srv/link/x", "symbolic link"),
        ] {
            assert_eq!(create(&mut model, "v", &[("mountpoint", path)]), Err(text));
        }
    }
}
