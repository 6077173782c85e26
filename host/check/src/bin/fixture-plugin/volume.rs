//! `VolumeDriver`: each volume is a directory, bound to a mount point of its own while it is used.

mod mounts;
mod record;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dockside_check::bench::invariants::Process;
use serde_json::{Map, Value, json};

use crate::plugin::{Context, Reply};
use mounts::Places;
use record::{Record, Records, Use, encoded};
use request::{bytes, judged, options, rfc3339, text};

/// The kernel's limit for the name of a file, with room for `.json`.
const LONGEST: usize = 250;

/// The methods of the kind.
pub(crate) struct Volumes {
    context: Context,
    dir: PathBuf,
    records: Records,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    volumes: BTreeMap<String, Record>,
    /// What a broken plugin still remembers.
    removed: BTreeSet<String>,
    surplus: BTreeMap<String, u32>,
    twice: Vec<String>,
}

impl Volumes {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        let dir = context.dir.join("volumes");
        for name in ["records", "data", "mounts"] {
            mounts::directory(&dir.join(name))?;
        }
        if context.breaks.on("V40") {
            mounts::open_to_all(&dir)?;
            mounts::open_to_all(&dir.join("mounts"))?;
        }
        let records = Records::new(dir.join("records"));
        let volumes = Self {
            state: Mutex::new(State {
                volumes: records.load()?,
                ..State::default()
            }),
            context,
            dir,
            records,
        };
        volumes.recover()?;
        Ok(volumes)
    }

    pub(crate) fn call(&self, method: &str, request: Option<Value>, caller: Option<u32>) -> Reply {
        if request.is_none() && method == "Get" {
            // Docker's second try: any answer without the volume would make it forget the volume.
            return Reply::Close;
        }
        if self.context.breaks.on("V31") && method == "Unmount" && self.is_unknown(request.as_ref())
        {
            return Reply::Close;
        }
        let done = match method {
            "Capabilities" => Ok(self.capabilities()),
            "List" => Ok(self.list()),
            "Create" | "Remove" | "Mount" | "Unmount" | "Path" | "Get" => request
                .ok_or_else(|| "the request has no body".to_owned())
                .and_then(|request| self.one(method, &request, caller)),
            _ => return Reply::Unknown,
        };
        done.map_or_else(Reply::Failed, Reply::Done)
    }

    fn one(&self, method: &str, request: &Value, caller: Option<u32>) -> Result<Value, String> {
        let name = text(request, "Name")?;
        if name.is_empty() && !(self.context.breaks.on("V09") && method != "Get") {
            return Err("the volume has no name".into());
        }
        match method {
            "Create" => self.create(&name, options(request)?),
            "Remove" => self.remove(&name),
            "Path" => self.path(&name),
            "Get" => self.get(&name),
            "Mount" => self.mount(&name, &text(request, "ID")?, caller),
            _ => self.unmount(&name, &text(request, "ID")?, caller),
        }
    }

    /// Whether the request names a volume, and one that was never made.
    fn is_unknown(&self, request: Option<&Value>) -> bool {
        request
            .and_then(|request| request.get("Name")?.as_str())
            .is_some_and(|name| !name.is_empty() && !self.state().volumes.contains_key(name))
    }

    /// After a crash: what is half done is undone, and after a reboot nothing is in use.
    fn recover(&self) -> Result<(), String> {
        let mut state = self.state();
        for record in state.volumes.values_mut() {
            let mounted = mounts::is_mounted(&self.places(&record.name).mount);
            let lost = match &self.context.breaks {
                breaks if breaks.on("V43") => true,
                breaks if breaks.on("V44") => false,
                _ => !mounted,
            };
            if lost && !record.uses.is_empty() {
                record.uses.clear();
                self.records.save(record)?;
            }
        }
        let known: BTreeSet<String> = state.volumes.keys().map(|name| self.token(name)).collect();
        let used: BTreeSet<String> = state
            .volumes
            .values()
            .filter(|record| !record.uses.is_empty())
            .map(|record| self.token(&record.name))
            .collect();
        for (place, kept) in [("mounts", &used), ("data", &known)] {
            for path in record::entries(&self.dir.join(place))? {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                match (kept.contains(name.as_ref()), place) {
                    (true, _) => {}
                    (false, "mounts") => mounts::unbind(&path)?,
                    (false, _) => mounts::discard(&path)?,
                }
            }
        }
        Ok(())
    }

    fn capabilities(&self) -> Value {
        let scope = if self.context.breaks.on("V01") {
            "cluster"
        } else {
            "local"
        };
        json!({"Capabilities": {"Scope": scope}})
    }

    fn list(&self) -> Value {
        let state = self.state();
        let mut volumes: Vec<Value> = state
            .volumes
            .values()
            .map(|record| Value::Object(self.described(record)))
            .collect();
        if self.context.breaks.on("V02") {
            volumes.extend(state.removed.iter().map(|name| json!({"Name": name})));
        }
        volumes.extend(state.twice.iter().map(|name| json!({"Name": name})));
        if self.context.breaks.on("V15") {
            volumes.truncate(100);
        }
        if self.context.breaks.on("V48") {
            let each = Duration::from_millis(1);
            std::thread::sleep(each * u32::try_from(volumes.len()).unwrap_or_default());
        }
        json!({"Volumes": volumes})
    }

    fn get(&self, name: &str) -> Result<Value, String> {
        let fault = self.context.fault().is_some();
        if fault && self.context.breaks.on("V07") {
            return Err(format!("the backend of {name:?} does not answer"));
        }
        let state = self.state();
        let Some(record) = state.volumes.get(name).filter(|record| {
            fault || self.context.breaks.on("V42") || self.places(&record.name).data.is_dir()
        }) else {
            if self.context.breaks.on("V06") {
                return Ok(json!({}));
            }
            return Err(format!("no such volume: {name:?}"));
        };
        let mut volume = self.described(record);
        for (id, field, value) in [
            ("V03", "Name", json!(format!("fixture/{name}"))),
            ("V04", "CreatedAt", json!("")),
            ("V05", "Status", json!([])),
        ] {
            if self.context.breaks.on(id) {
                volume.insert(field.into(), value);
            }
        }
        Ok(json!({"Volume": volume}))
    }

    fn path(&self, name: &str) -> Result<Value, String> {
        let state = self.state();
        if self.context.breaks.on("V19") && !state.volumes.contains_key(name) {
            return Ok(json!({"Mountpoint": ""}));
        }
        let record = known(&state, name)?;
        if self.context.breaks.on("V21") && record.uses.is_empty() {
            return Ok(json!({"Mountpoint": self.dir.join("mounts/next")}));
        }
        Ok(json!({"Mountpoint": self.mountpoint(record)}))
    }

    fn create(&self, name: &str, options: BTreeMap<String, String>) -> Result<Value, String> {
        if encoded(name).len() > LONGEST {
            return Err(format!("the name is too long: at most {LONGEST} bytes"));
        }
        judged(&options, &self.context.breaks)?;
        self.backend("Create")?;
        if self.context.breaks.on("V14") {
            let known = self.state().volumes.contains_key(name);
            std::thread::sleep(Duration::from_millis(20));
            let mut state = self.state();
            if !known && state.volumes.contains_key(name) {
                state.twice.push(name.to_owned());
            }
        }
        let mut state = self.state();
        if let Some(record) = state.volumes.get(name) {
            if record.options != options && !self.context.breaks.on("V11") {
                return Err(format!("{name:?} exists with other options"));
            }
            if self.context.breaks.on("V10") {
                return Err(format!("{name:?} exists"));
            }
            return Ok(json!({}));
        }
        let record = Record {
            name: name.to_owned(),
            options,
            created: SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |time| time.as_secs()),
            uses: Vec::new(),
        };
        let data = self.places(name).data;
        if self.context.breaks.on("V45") {
            self.records.save(&record)?;
            std::thread::sleep(Duration::from_millis(3));
        }
        if !(self.context.breaks.on("V18") && data.is_dir()) {
            mounts::data(&data)?;
        }
        if let Err(error) = self.records.save(&record) {
            if self.context.breaks.on("V46") {
                state.volumes.insert(name.to_owned(), record);
                return Err(error);
            }
            mounts::discard(&data)?;
            return Err(error);
        }
        state.volumes.insert(name.to_owned(), record);
        Ok(json!({}))
    }

    fn remove(&self, name: &str) -> Result<Value, String> {
        self.backend("Remove")?;
        let mut state = self.state();
        let Some(record) = state.volumes.get(name) else {
            if self.context.breaks.on("V16") {
                return Err(format!("no such volume: {name:?}"));
            }
            return Ok(json!({}));
        };
        let used = match &self.context.breaks {
            breaks if breaks.on("V17") => false,
            breaks if breaks.on("V28") => !record.uses.is_empty(),
            _ => record.uses.iter().any(Use::is_current),
        };
        if used {
            return Err(format!("{name:?} is in use"));
        }
        self.records.delete(name)?;
        state.volumes.remove(name);
        state.surplus.remove(name);
        if self.context.breaks.on("V02") {
            state.removed.insert(name.to_owned());
        }
        let places = self.places(name);
        mounts::unbind(&places.mount)?;
        if !self.context.breaks.on("V18") {
            mounts::discard(&places.data)?;
        }
        Ok(json!({}))
    }

    fn mount(&self, name: &str, id: &str, caller: Option<u32>) -> Result<Value, String> {
        if let Err(error) = self.backend("Mount") {
            if self.context.breaks.on("V34") {
                self.used_without_mount(name, id, caller);
            }
            return Err(error);
        }
        let engine = caller.and_then(Process::of);
        let mut state = self.state();
        if self.context.breaks.on("V23") && !state.volumes.contains_key(name) {
            mounts::directory(&self.places(name).mount)?;
        }
        let mut record = known(&state, name)?.clone();
        // What an engine that is gone had under this ID, its successor has again.
        if !self.context.breaks.on("V26") {
            record
                .uses
                .retain(|held| held.id != id || held.is_current());
        }
        let before = record.uses.len();
        match record
            .uses
            .iter_mut()
            .find(|held| held.id == id && held.engine == engine)
        {
            Some(_) if self.context.breaks.on("V25") => {}
            Some(held) => held.count += 1,
            None => record.uses.push(Use {
                id: id.to_owned(),
                engine,
                count: 1,
            }),
        }
        let places = self.places(name);
        let mut fresh = !mounts::is_mounted(&places.mount);
        if self.context.breaks.on("V24") {
            fresh = record.uses.len() > before;
        }
        if self.context.breaks.on("V41") {
            fresh &= before == 0;
        }
        if let Some(surplus) = state.surplus.get_mut(name).filter(|count| **count > 0) {
            *surplus -= 1;
            fresh = false;
        }
        if fresh && self.context.breaks.on("V40") {
            // Time for what others put there, even on a busy machine.
            std::thread::sleep(Duration::from_millis(10));
        }
        if fresh {
            mounts::bind(&places.data, &places.mount, !self.context.breaks.on("V37"))?;
        }
        if let Err(error) = self.records.save(&record) {
            if fresh {
                mounts::unbind(&places.mount)?;
            }
            return Err(error);
        }
        let answer = json!({"Mountpoint": self.mountpoint(&record)});
        state.volumes.insert(name.to_owned(), record);
        Ok(answer)
    }

    fn unmount(&self, name: &str, id: &str, caller: Option<u32>) -> Result<Value, String> {
        self.backend("Unmount")?;
        let engine = caller.and_then(Process::of);
        let mut state = self.state();
        let Some(before) = state.volumes.get(name) else {
            return Ok(json!({}));
        };
        let before = before.clone();
        let mut record = before.clone();
        if self.context.breaks.on("V30") && record.uses.is_empty() {
            *state.surplus.entry(name.to_owned()).or_default() += 1;
        }
        match record
            .uses
            .iter_mut()
            .find(|held| held.id == id && held.engine == engine)
        {
            Some(held) => held.count = held.count.saturating_sub(1),
            None if self.context.breaks.on("V27") => {}
            None if self.context.breaks.on("V29") => drop(record.uses.pop()),
            // A container that lived through the end of the engine that started it.
            None => record
                .uses
                .retain(|held| held.id != id || held.is_current()),
        }
        record.uses.retain(|held| held.count > 0);
        if record != before {
            self.records.save(&record)?;
        }
        if self.context.breaks.on("V47") {
            for other in state
                .volumes
                .values_mut()
                .filter(|other| other.name != name)
            {
                other.uses.retain(|held| held.id != id);
            }
        }
        // Six bits do for a count, somebody thought.
        let overflows = self.context.breaks.on("V33") && record.uses.len().is_multiple_of(64);
        if record.uses.is_empty() || overflows {
            mounts::unbind(&self.places(name).mount)?;
            if self.context.breaks.on("V32") && !before.uses.is_empty() {
                mounts::data(&self.places(name).data)?;
            }
        }
        state.volumes.insert(name.to_owned(), record);
        Ok(json!({}))
    }

    /// A reference that a failed Mount leaves in a broken plugin.
    fn used_without_mount(&self, name: &str, id: &str, caller: Option<u32>) {
        if let Some(record) = self.state().volumes.get_mut(name) {
            record.uses.push(Use {
                id: id.to_owned(),
                engine: caller.and_then(Process::of),
                count: 1,
            });
        }
    }

    /// Waits for the backend, for less than the engine waits for the plugin.
    fn backend(&self, method: &str) -> Result<(), String> {
        let limit: f64 = match method {
            "Create" | "Mount" if self.context.breaks.on("V35") => 1000.0,
            "Path" | "Unmount" | "Remove" if self.context.breaks.on("V36") => 1000.0,
            "Create" | "Mount" => 100.0,
            _ => 50.0,
        };
        let end = Instant::now() + self.context.patience.seconds(limit);
        loop {
            match self.context.fault().as_deref() {
                None => return Ok(()),
                Some("hang") if Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Some("hang") => {
                    return Err(format!(
                        "the backend does not answer: {method} was not done"
                    ));
                }
                Some(_) => return Err(format!("the backend fails: {method} was not done")),
            }
        }
    }

    fn described(&self, record: &Record) -> Map<String, Value> {
        let size = record.options.get("size").and_then(|size| bytes(size).ok());
        let status = json!({"uses": record.uses.len(), "size": size});
        [
            ("Name", json!(record.name)),
            ("Mountpoint", json!(self.mountpoint(record))),
            ("CreatedAt", json!(rfc3339(record.created))),
            ("Status", status),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into_iter()
        .collect()
    }

    fn mountpoint(&self, record: &Record) -> String {
        if record.uses.is_empty() {
            return String::new();
        }
        let path = self.places(&record.name).mount.display().to_string();
        if self.context.breaks.on("V20") {
            return path.replace("/mounts/", "/data/../mounts/");
        }
        if self.context.breaks.on("V22") && record.name.starts_with("/dockside-check") {
            return record.name.clone();
        }
        path
    }

    fn token(&self, name: &str) -> String {
        if self.context.breaks.on("V38") && name.len() < 8 {
            return encoded(&name.to_lowercase());
        }
        encoded(name)
    }

    fn places(&self, name: &str) -> Places {
        let name = self.token(name);
        Places {
            data: self.dir.join("data").join(&name),
            mount: self.dir.join("mounts").join(&name),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn known<'a>(state: &'a State, name: &str) -> Result<&'a Record, String> {
    state
        .volumes
        .get(name)
        .ok_or_else(|| format!("no such volume: {name:?}"))
}
