//! `AuthZPlugin`: daily work with containers, no privileged ones and none that see the machine's files. What can be read in two
//! ways is denied.

mod body;
mod message;
mod policy;
mod target;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::plugin::{Context, Reply};
use crate::store::Store;
use message::Message;
use policy::Policy;

/// The methods of the kind.
pub(crate) struct Authz {
    context: Context,
    store: Store,
    execs: Mutex<BTreeSet<String>>,
    /// Whether the policy was needed since the start.
    asked: AtomicBool,
    /// The targets of the requests that were asked about.
    uris: Mutex<BTreeSet<String>>,
    policy: Mutex<Option<String>>,
    last: Mutex<Option<Result<(), String>>>,
    same: Mutex<(String, u32)>,
    count: AtomicU32,
}

impl Authz {
    pub(crate) fn new(context: Context) -> Result<Self, String> {
        let store = Store::new(&context.dir, "execs");
        let execs = store.load()?;
        Ok(Self {
            context,
            store,
            execs: Mutex::new(execs),
            asked: AtomicBool::new(false),
            uris: Mutex::default(),
            policy: Mutex::default(),
            last: Mutex::default(),
            same: Mutex::default(),
            count: AtomicU32::new(0),
        })
    }

    pub(crate) fn call(&self, method: &str, request: Option<Value>) -> Reply {
        let breaks = &self.context.breaks;
        let Some(request) = request else {
            return Reply::Failed("the request is empty".into());
        };
        let uri = request.get("RequestUri").and_then(Value::as_str);
        let uri = uri.unwrap_or_default();
        let decided = match method {
            "AuthZReq" => {
                if breaks.on("A36") {
                    self.uris().insert(uri.to_owned());
                }
                self.request(&request)
            }
            "AuthZRes" => {
                if breaks.on("A36") && !self.uris().contains(uri) {
                    return Reply::Close;
                }
                match self.response(&request) {
                    Err(reason) if breaks.on("A35") => return Reply::Failed(reason),
                    decided => decided,
                }
            }
            _ => return Reply::Unknown,
        };
        let decided = self.carelessly(&request, decided);
        Reply::Done(match decided {
            Ok(()) if breaks.on("A03") => json!({"Allow": true, "Err": "the user is not known"}),
            Ok(()) => json!({"Allow": true}),
            Err(reason) if breaks.on("A04") && reason.contains("cannot be read") => {
                json!({"Allow": false, "Err": reason})
            }
            Err(reason) if breaks.on("A02") => {
                json!({"Allow": false, "Msg": format!("denied:\n{reason}")})
            }
            Err(reason) => json!({"Allow": false, "Msg": reason}),
        })
    }

    fn uris(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.uris.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong between a decision and its answer.
    fn carelessly(&self, request: &Value, decided: Result<(), String>) -> Result<(), String> {
        let breaks = &self.context.breaks;
        let lock = |last: &Mutex<Option<Result<(), String>>>, value| {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = value;
        };
        if breaks.on("A39") {
            lock(&self.last, Some(decided.clone()));
            std::thread::sleep(Duration::from_micros(500));
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            return last.clone().unwrap_or(decided);
        }
        if breaks.on("A40") {
            let text = request.to_string();
            let mut same = self.same.lock().unwrap_or_else(PoisonError::into_inner);
            if same.0 == text {
                same.1 += 1;
            } else {
                *same = (text, 1);
            }
            if same.1.is_multiple_of(40) && decided.is_ok() {
                return Err("there are too many requests".into());
            }
        }
        if breaks.on("A43") && self.count.fetch_add(1, Ordering::Relaxed) % 20 == 19 {
            std::thread::sleep(Duration::from_millis(400));
        }
        decided
    }

    /// The policy, from its file if there is one. `Err`: it cannot be had.
    fn policy(&self) -> Result<Policy, String> {
        let breaks = &self.context.breaks;
        let end = Instant::now() + self.context.patience.seconds(3.0);
        while self.context.fault().as_deref() == Some("hang") {
            if Instant::now() > end {
                return Err("the policy does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.context.fault().as_deref() == Some("fail") {
            return Err("the policy fails".into());
        }
        let text = std::fs::read_to_string(self.context.dir.join("policy")).unwrap_or_default();
        let mut known = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = |text: &str| ["", "strict"].contains(&text.trim());
        let changed = known
            .as_ref()
            .is_some_and(|known| *known != text && whole(known) && whole(&text));
        *known = Some(text.clone());
        if breaks.on("A41") && changed {
            return Ok(Policy::none());
        }
        if breaks.on("A42") && !self.asked.swap(true, Ordering::Relaxed) {
            return Ok(Policy::none());
        }
        match text.trim() {
            "" => Ok(Policy::usual()),
            "strict" => Ok(Policy::strict()),
            "gone" if breaks.on("A09") => Ok(Policy::none()),
            "gone" => Err("there is no policy".into()),
            other => Err(format!("the policy {other:?} cannot be compiled")),
        }
    }

    fn request(&self, request: &Value) -> Result<(), String> {
        let breaks = &self.context.breaks;
        let policy = match self.policy() {
            Ok(policy) => policy,
            Err(_) if breaks.on("A05") && self.context.fault().as_deref() == Some("fail") => {
                return Ok(());
            }
            Err(_) if breaks.on("A06") && self.context.fault().as_deref() == Some("hang") => {
                return Ok(());
            }
            Err(reason) => return Err(reason),
        };
        if breaks.on("A11") && request.get("RequestUri").is_none() {
            return Ok(());
        }
        let message = Message::read(request, breaks)?;
        if breaks.on("A38") {
            eprintln!("asked: {:?} {:?}", message.headers, message.shown());
        }
        if breaks.on("A10") && self.context.dir_is_full() {
            return Ok(());
        }
        let execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
        policy.judge(&message, &execs, breaks)
    }

    /// The engine has acted by now. Of commands that it made the IDs are kept.
    fn response(&self, request: &Value) -> Result<(), String> {
        let message = Message::read(request, &self.context.breaks)?;
        let body = message::base64_of(request, "ResponseBody")?.unwrap_or_default();
        let made = request.get("ResponseStatusCode").and_then(Value::as_u64) == Some(201);
        if self.context.breaks.on("A35") && !body.is_empty() {
            serde_json::from_slice::<Value>(&body)
                .map_err(|error| format!("the response cannot be read: {error}"))?;
        }
        if made && message.uri.ends_with("/exec") {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            if let Some(id) = body.get("Id").and_then(Value::as_str) {
                let mut execs = self.execs.lock().unwrap_or_else(PoisonError::into_inner);
                execs.insert(id.to_owned());
                self.store.save(&*execs)?;
            }
        }
        Ok(())
    }
}
