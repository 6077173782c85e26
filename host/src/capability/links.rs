//! `dockside:host/links`.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};
use wasmtime::component::Resource;

use super::held::{Answer, answered, error};
use crate::config::LinkKind as Granted;
use crate::ledger::{self, Effect, Kind};
use crate::machine::links::{
    BridgePort, Change, Edit, FdbEntry, Link, LinkKind, MacvlanMode, Neighbour, Route, Whereabouts,
    whereabouts,
};
use crate::protocol::address::{cidr_from_guest, ip_from_guest, subnet_from_guest};
use crate::sandbox::CallContext;
use crate::sandbox::bindings::addresses::{Cidr, IpAddress, MacAddress};
use crate::sandbox::bindings::effects::links as wit;
use crate::sandbox::bindings::machine::{Error, ErrorCode};
use crate::store::Transaction;
use crate::trace::Handle;

/// A link that the host made for the plugin that is called.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    key: String,
    id: String,
    /// The name on the machine.
    name: String,
}

impl LinkHandle {
    /// The name on the machine.
    pub fn into_name(self) -> String {
        self.name
    }

    /// The name on the machine, for Docker, if the call may still name the link.
    ///
    /// # Errors
    /// When the link was deleted in the same call.
    pub fn render(&self, transaction: &mut Transaction) -> Result<String, String> {
        let held = transaction
            .object(&Kind::Link.name(&self.key))
            .is_some_and(|object| object.id == self.id);
        if held {
            Ok(self.name.clone())
        } else {
            Err(format!(
                "the link {:?} was deleted in the same call",
                self.key
            ))
        }
    }
}

impl Handle for LinkHandle {
    fn show(&self) -> Value {
        json!({ "key": self.key, "id": self.id, "name": self.name })
    }

    fn restore(value: &Value) -> Option<LinkHandle> {
        let text = |name| Some(value.get(name)?.as_str()?.to_owned());
        Some(LinkHandle {
            key: text("key")?,
            id: text("id")?,
            name: text("name")?,
        })
    }
}

impl wit::Host for CallContext {
    async fn create(
        &mut self,
        key: String,
        kind: wit::Kind,
        settings: wit::Settings,
    ) -> wasmtime::Result<Answer<Resource<LinkHandle>>> {
        let made = self.make_link(&key, kind, settings).await;
        answered(self.hand_out_link(made)?)
    }

    async fn create_pair(
        &mut self,
        key: String,
        peer: String,
        settings: wit::Settings,
    ) -> wasmtime::Result<Answer<(Resource<LinkHandle>, Resource<LinkHandle>)>> {
        let made = self.make_pair(&key, &peer, settings).await;
        answered(match made {
            Ok((one, other)) => Ok((self.table.push(one)?, self.table.push(other)?)),
            Err(error) => Err(error),
        })
    }

    async fn open(&mut self, key: String) -> wasmtime::Result<Answer<Resource<LinkHandle>>> {
        let found = self.link(&key).map(|link| handle(&key, &link));
        answered(self.hand_out_link(found)?)
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Answer<()>> {
        answered(self.delete_link(&key))
    }

    async fn list_links(&mut self) -> wasmtime::Result<Vec<wit::LinkInfo>> {
        let mut list = Vec::new();
        for (key, object) in self.all(Kind::Link).unwrap_or_default() {
            let Ok(Effect::Link(link)) = ledger::decode(&object.record) else {
                continue;
            };
            let place = ledger::blocking(move || whereabouts(&link)).await;
            let here = matches!(place, Ok(Whereabouts::Here));
            list.push(wit::LinkInfo { key, here });
        }
        answered(list)
    }
}

impl wit::HostLink for CallContext {
    async fn key(&mut self, link: Resource<LinkHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&link)?.key.clone())
    }

    async fn name(&mut self, link: Resource<LinkHandle>) -> wasmtime::Result<String> {
        Ok(self.table.get(&link)?.name.clone())
    }

    async fn set_mtu(
        &mut self,
        link: Resource<LinkHandle>,
        mtu: u32,
    ) -> wasmtime::Result<Answer<()>> {
        answered(self.edit(&link, Ok(Edit::Mtu(mtu))).await)
    }

    async fn set_up(
        &mut self,
        link: Resource<LinkHandle>,
        up: bool,
    ) -> wasmtime::Result<Answer<()>> {
        answered(self.edit(&link, Ok(Edit::Up(up))).await)
    }

    async fn set_master(
        &mut self,
        link: Resource<LinkHandle>,
        bridge: Option<Resource<LinkHandle>>,
    ) -> wasmtime::Result<Answer<()>> {
        let to = match bridge {
            Some(bridge) => self.named(&bridge).map(Some),
            None => Ok(None),
        };
        let edit = to.map(|to| Edit::Master { to, foreign: false });
        answered(self.edit(&link, edit).await)
    }

    async fn set_isolated(
        &mut self,
        link: Resource<LinkHandle>,
        isolated: bool,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = self.link_of(&link).map(|(_, link)| {
            Edit::Port(BridgePort {
                isolated,
                ..link.port.unwrap_or_default()
            })
        });
        answered(self.edit(&link, edit).await)
    }

    async fn set_hairpin(
        &mut self,
        link: Resource<LinkHandle>,
        hairpin: bool,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = self.link_of(&link).map(|(_, link)| {
            Edit::Port(BridgePort {
                hairpin,
                ..link.port.unwrap_or_default()
            })
        });
        answered(self.edit(&link, edit).await)
    }

    async fn add_address(
        &mut self,
        link: Resource<LinkHandle>,
        address: Cidr,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = read(cidr_from_guest(address)).and_then(|address| {
            self.granted(|grants| grants.links()?.may_address(address))?;
            Ok(Edit::AddAddress(address))
        });
        answered(self.edit(&link, edit).await)
    }

    async fn remove_address(
        &mut self,
        link: Resource<LinkHandle>,
        address: Cidr,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = read(cidr_from_guest(address)).map(Edit::RemoveAddress);
        answered(self.edit(&link, edit).await)
    }

    async fn add_route(
        &mut self,
        link: Resource<LinkHandle>,
        route: wit::Route,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = self.route(route).map(Edit::AddRoute);
        answered(self.edit(&link, edit).await)
    }

    async fn remove_route(
        &mut self,
        link: Resource<LinkHandle>,
        route: wit::Route,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = read(route_from_guest(route)).map(Edit::RemoveRoute);
        answered(self.edit(&link, edit).await)
    }

    async fn add_fdb(
        &mut self,
        link: Resource<LinkHandle>,
        mac: MacAddress,
        destination: IpAddress,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = fdb(mac, destination).map(Edit::AddFdb);
        answered(self.edit(&link, edit).await)
    }

    async fn remove_fdb(
        &mut self,
        link: Resource<LinkHandle>,
        mac: MacAddress,
        destination: IpAddress,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = fdb(mac, destination).map(Edit::RemoveFdb);
        answered(self.edit(&link, edit).await)
    }

    async fn add_neighbour(
        &mut self,
        link: Resource<LinkHandle>,
        address: IpAddress,
        mac: MacAddress,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = read(ip_from_guest(address)).map(|ip| {
            Edit::AddNeighbour(Neighbour {
                ip,
                mac: mac.into_array(),
            })
        });
        answered(self.edit(&link, edit).await)
    }

    async fn remove_neighbour(
        &mut self,
        link: Resource<LinkHandle>,
        address: IpAddress,
    ) -> wasmtime::Result<Answer<()>> {
        let edit = read(ip_from_guest(address)).map(Edit::RemoveNeighbour);
        answered(self.edit(&link, edit).await)
    }

    async fn drop(&mut self, link: Resource<LinkHandle>) -> wasmtime::Result<()> {
        self.table.delete(link)?;
        Ok(())
    }
}

impl CallContext {
    async fn make_link(
        &mut self,
        key: &str,
        kind: wit::Kind,
        settings: wit::Settings,
    ) -> Answer<LinkHandle> {
        let (granted, parent, kind) = match kind {
            wit::Kind::Bridge(bridge) => (
                Granted::Bridge,
                None,
                LinkKind::Bridge {
                    stp: bridge.stp,
                    multicast_snooping: bridge.multicast_snooping,
                    vlan_filtering: false,
                },
            ),
            wit::Kind::Vxlan(vxlan) => (
                Granted::Vxlan,
                vxlan.device.clone(),
                LinkKind::Vxlan {
                    vni: vxlan.vni,
                    port: vxlan.port,
                    local: vxlan
                        .local
                        .map(ip_from_guest)
                        .transpose()
                        .map_err(invalid)?,
                    remote: vxlan
                        .remote
                        .map(ip_from_guest)
                        .transpose()
                        .map_err(invalid)?,
                    device: vxlan.device,
                    learning: vxlan.learning,
                },
            ),
            wit::Kind::Macvlan(macvlan) => (
                Granted::Macvlan,
                Some(macvlan.parent.clone()),
                LinkKind::Macvlan {
                    parent: macvlan.parent,
                    mode: match macvlan.mode {
                        wit::MacvlanMode::Bridge => MacvlanMode::Bridge,
                        wit::MacvlanMode::Private => MacvlanMode::Private,
                        wit::MacvlanMode::Vepa => MacvlanMode::Vepa,
                        wit::MacvlanMode::Passthru => MacvlanMode::Passthru,
                    },
                },
            ),
        };
        let most = self.granted(|grants| grants.links().map(|grant| grant.max))?;
        let held = self.count(Kind::Link, most)?;
        self.granted(|grants| grants.links()?.may_create(granted, parent.as_deref(), held))?;
        let id = ledger::mint();
        let link = with(Link::new(&id, kind), &settings);
        let made = handle(key, &link);
        self.hold(Kind::Link, key, &id, Effect::Link(link)).await?;
        Ok(made)
    }

    async fn make_pair(
        &mut self,
        key: &str,
        peer: &str,
        settings: wit::Settings,
    ) -> Answer<(LinkHandle, LinkHandle)> {
        if key == peer {
            return Err(error(
                ErrorCode::Invalid,
                format!("the two ends of a pair need two keys, not {key:?} twice"),
            ));
        }
        let most = self.granted(|grants| grants.links().map(|grant| grant.max))?;
        let held = self.count(Kind::Link, most)? + 1;
        self.granted(|grants| grants.links()?.may_create(Granted::Veth, None, held))?;
        self.free(Kind::Link, peer)?;
        let (one, other) = (ledger::mint(), ledger::mint());
        let (first, second) = Link::veth(&one, &other);
        let first = with(first, &settings);
        // The address is for the first end; two ends with one address do not hear each other.
        let second = with(
            second,
            &wit::Settings {
                mac: None,
                ..settings
            },
        );
        let handles = (handle(key, &first), handle(peer, &second));
        self.hold(Kind::Link, key, &one, Effect::Link(first))
            .await?;
        if let Err(reason) = self
            .hold(Kind::Link, peer, &other, Effect::Link(second))
            .await
        {
            // One end is not left without the other, also if the driver goes on and succeeds.
            self.end(Kind::Link, key)?;
            return Err(reason);
        }
        Ok(handles)
    }

    fn delete_link(&mut self, key: &str) -> Answer<()> {
        let link = self.link(key)?;
        let peer = match &link.kind {
            LinkKind::VethPair { peer } | LinkKind::VethPeer { peer } => Some(peer.id.clone()),
            _ => None,
        };
        if let Some(peer) = peer {
            let other = self
                .all(Kind::Link)?
                .into_iter()
                .find(|(_, object)| object.id == peer);
            if let Some((other, _)) = other {
                self.end(Kind::Link, &other)?;
            }
        }
        self.end(Kind::Link, key)
    }

    async fn edit(&mut self, link: &Resource<LinkHandle>, edit: Answer<Edit>) -> Answer<()> {
        let edit = edit?;
        let (key, link) = self.link_of(link)?;
        let effects = self.effects.clone();
        effects.alone_with(&link.id, self.deadline).await?;
        let change = {
            let link = link.clone();
            ledger::blocking(move || Change::prepare(&link, edit)).await?
        };
        let mut after = link;
        change.write(&mut after);
        self.alter(Effect::Change(change)).await?;
        let (object, _) = self.held(Kind::Link, &key)?;
        self.rewrite(&object, &Effect::Link(after))
    }

    fn route(&mut self, route: wit::Route) -> Answer<Route> {
        let mut route = read(route_from_guest(route))?;
        let mut own: Vec<IpNet> = Vec::new();
        for (_, object) in self.all(Kind::Link)? {
            if let Effect::Link(link) = ledger::decode(&object.record)? {
                own.extend(link.addresses);
            }
        }
        self.granted(|grants| grants.links()?.may_route(route.destination, &own))?;
        // Whoever wrote so short a prefix into the grant means it.
        route.allow_default = true;
        Ok(route)
    }

    fn link(&mut self, key: &str) -> Answer<Link> {
        match self.held(Kind::Link, key)? {
            (_, Effect::Link(link)) => Ok(link),
            _ => Err(error(ErrorCode::Other, "the record of the link is damaged")),
        }
    }

    fn link_of(&mut self, link: &Resource<LinkHandle>) -> Answer<(String, Link)> {
        let handle = self.link_handle(link)?;
        let found = self.link(&handle.key)?;
        if found.id != handle.id {
            return Err(error(
                ErrorCode::NotFound,
                format!("the link {:?} was deleted in the same call", handle.key),
            ));
        }
        Ok((handle.key, found))
    }

    /// The name of a link on the machine, if this call may name it.
    pub(super) fn named(&mut self, link: &Resource<LinkHandle>) -> Answer<String> {
        self.link_of(link).map(|(_, link)| link.name)
    }

    fn link_handle(&self, link: &Resource<LinkHandle>) -> Answer<LinkHandle> {
        self.table
            .get(link)
            .cloned()
            .map_err(|reason| error(ErrorCode::Invalid, reason.to_string()))
    }

    fn hand_out_link(
        &mut self,
        made: Answer<LinkHandle>,
    ) -> wasmtime::Result<Answer<Resource<LinkHandle>>> {
        match made {
            Ok(handle) => Ok(Ok(self.table.push(handle)?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

fn handle(key: &str, link: &Link) -> LinkHandle {
    LinkHandle {
        key: key.to_owned(),
        id: link.id.clone(),
        name: link.name.clone(),
    }
}

fn with(mut link: Link, settings: &wit::Settings) -> Link {
    link.mtu = settings.mtu;
    link.mac = settings.mac.map(IntoArray::into_array);
    link.up = settings.up;
    link
}

fn route_from_guest(route: wit::Route) -> Result<Route, String> {
    Ok(Route {
        destination: subnet_from_guest(route.destination)?,
        gateway: route.via.map(ip_from_guest).transpose()?,
        source: None,
        metric: None,
        allow_default: false,
    })
}

fn fdb(mac: MacAddress, to: IpAddress) -> Answer<FdbEntry> {
    let to: IpAddr = read(ip_from_guest(to))?;
    Ok(FdbEntry::Remote {
        mac: mac.into_array(),
        to,
    })
}

fn invalid(reason: String) -> Error {
    error(ErrorCode::Invalid, reason)
}

fn read<T>(result: Result<T, String>) -> Answer<T> {
    result.map_err(invalid)
}

trait IntoArray {
    fn into_array(self) -> [u8; 6];
}

impl IntoArray for MacAddress {
    fn into_array(self) -> [u8; 6] {
        let (a, b, c, d, e, f) = self;
        [a, b, c, d, e, f]
    }
}
