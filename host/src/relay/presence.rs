//! Which relays are there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Context, Settings};

/// How long a relay that ended may take to come back before what it showed is taken away. Docker starts one that died at once.
const AWAY: Duration = Duration::from_secs(5);

/// How long relays may take to come back after a start of dockside: those that live look for it several times a second.
const START: Duration = Duration::from_secs(30);

/// The relays that have been seen since the start.
#[derive(Debug)]
pub struct Relays {
    since: Instant,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// By Docker's ID.
    relays: HashMap<String, Relay>,
    /// What was set last for each plugin. Only in memory: it can hold passwords, and a relay says it again as soon as dockside is there again.
    settings: HashMap<String, Arc<Settings>>,
}

#[derive(Debug)]
struct Relay {
    plugin: String,
    settings: Arc<Settings>,
    connections: usize,
    /// When the last connection ended.
    left: Instant,
}

/// A relay, as people see it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attached {
    /// Docker's ID of the plugin.
    pub id: String,
    /// The names of what the user has set; the values can be secret.
    pub set: Vec<String>,
}

impl Default for Relays {
    fn default() -> Self {
        Relays {
            since: Instant::now(),
            seen: Mutex::default(),
        }
    }
}

impl Relays {
    /// Notes a connection of a relay, until what is returned is dropped.
    pub fn arrive(self: &Arc<Self>, plugin: &str, context: &Context) -> Presence {
        let mut seen = self.seen.lock();
        let settings = Arc::clone(&context.settings);
        seen.settings
            .insert(plugin.to_owned(), Arc::clone(&settings));
        let relay = seen.relays.entry(context.id.clone()).or_insert(Relay {
            plugin: plugin.to_owned(),
            settings: Arc::default(),
            connections: 0,
            left: Instant::now(),
        });
        plugin.clone_into(&mut relay.plugin);
        relay.settings = settings;
        relay.connections += 1;
        Presence {
            relays: Arc::clone(self),
            id: context.id.clone(),
        }
    }

    /// Whether a relay is there.
    pub fn is_here(&self, id: &str) -> bool {
        let seen = self.seen.lock();
        seen.relays
            .get(id)
            .is_some_and(|relay| relay.connections > 0)
    }

    /// Whether a relay has ended and does not come back.
    pub fn is_gone(&self, id: &str) -> bool {
        let seen = self.seen.lock();
        match seen.relays.get(id) {
            Some(relay) => relay.connections == 0 && relay.left.elapsed() > AWAY,
            None => self.since.elapsed() > START,
        }
    }

    /// What was set last for a plugin: for the calls that the host makes of itself.
    pub fn settings(&self, plugin: &str) -> Option<Arc<Settings>> {
        self.seen.lock().settings.get(plugin).cloned()
    }

    /// The relays of a plugin that are there.
    pub fn of(&self, plugin: &str) -> Vec<Attached> {
        let seen = self.seen.lock();
        let mut attached: Vec<Attached> = seen
            .relays
            .iter()
            .filter(|(_, relay)| relay.plugin == plugin && relay.connections > 0)
            .map(|(id, relay)| Attached {
                id: id.clone(),
                set: relay.settings.keys().cloned().collect(),
            })
            .collect();
        attached.sort_by(|a, b| a.id.cmp(&b.id));
        attached
    }
}

/// A connection of a relay.
#[derive(Debug)]
pub struct Presence {
    relays: Arc<Relays>,
    id: String,
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut seen = self.relays.seen.lock();
        if let Some(relay) = seen.relays.get_mut(&self.id) {
            relay.connections = relay.connections.saturating_sub(1);
            relay.left = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(id: &str, level: &str) -> Context {
        let settings = Settings::from([("env.LEVEL".to_owned(), level.to_owned())]);
        Context {
            id: id.to_owned(),
            shows: Err(String::new()),
            engine: None,
            settings: Arc::new(settings),
        }
    }

    #[test]
    fn a_relay_is_here_as_long_as_one_of_its_connections() {
        let relays = Arc::new(Relays::default());
        assert!(!relays.is_here("a"));
        let watch = relays.arrive("p", &context("a", "1"));
        let call = relays.arrive("p", &context("a", "1"));
        drop(watch);
        assert!(relays.is_here("a") && !relays.is_gone("a"));
        assert_eq!(relays.of("p").len(), 1);
        drop(call);
        // It may come back.
        assert!(!relays.is_here("a") && !relays.is_gone("a"));
        assert!(relays.of("p").is_empty());
        // One of the time before the start, too.
        assert!(!relays.is_gone("b"));
    }

    #[test]
    fn calls_of_the_hosts_own_use_what_was_set_last() {
        let relays = Arc::new(Relays::default());
        assert_eq!(relays.settings("p"), None);
        let _one = relays.arrive("p", &context("a", "1"));
        let _two = relays.arrive("p", &context("a", "2"));
        let settings = relays.settings("p").unwrap_or_default();
        assert_eq!(settings.get("env.LEVEL").map(String::as_str), Some("2"));
        assert_eq!(relays.settings("q"), None);
    }
}
