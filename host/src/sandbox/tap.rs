//! What `bindgen!` takes for the crate `wasmtime`: the same, with a linker of its own that lets somebody watch each call of a host interface,
//! or answer in the host's place.
//!
//! This is the one place where calls of guests are recorded and replayed. A new interface in `bindings.rs` needs nothing for it but the
//! two lines `wasmtime_crate: crate::sandbox::tap` and `additional_derives: [dockside_derive::Traced]`, and each new resource an
//! implementation of [`Handle`](crate::trace::Handle).

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use serde_json::{Value, json};
pub use wasmtime::*;

use super::CallContext;
use crate::trace::value::is_cut;
use crate::trace::{Function, HostCall, Probe, Recorder, Traced, micros};

/// As `wasmtime::component`, with the linker of this module.
pub mod component {
    pub use super::{Linker, LinkerInstance};
    pub use wasmtime::component::*;
}

use component::{ComponentNamedList, Lift, Lower, ResourceTable, ResourceType};

/// A linker whose functions can be watched.
pub struct Linker<T: 'static>(wasmtime::component::Linker<T>);

impl<T> std::fmt::Debug for Linker<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Linker").finish_non_exhaustive()
    }
}

impl<T: 'static> Linker<T> {
    /// An empty linker.
    pub fn new(engine: &Engine) -> Linker<T> {
        Linker(wasmtime::component::Linker::new(engine))
    }

    /// The linker beneath, for interfaces that nobody watches here.
    pub fn unwatched(&mut self) -> &mut wasmtime::component::Linker<T> {
        &mut self.0
    }

    /// See wasmtime.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn instance(&mut self, name: &str) -> Result<LinkerInstance<'_, T>> {
        Ok(LinkerInstance {
            interface: name.split('@').next().unwrap_or(name).to_owned(),
            inner: self.0.instance(name)?,
        })
    }

    /// See wasmtime.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn instantiate_pre(
        &self,
        component: &component::Component,
    ) -> Result<component::InstancePre<T>> {
        self.0.instantiate_pre(component)
    }
}

/// An interface of a [`Linker`].
pub struct LinkerInstance<'a, T: 'static> {
    interface: String,
    inner: wasmtime::component::LinkerInstance<'a, T>,
}

impl<T> std::fmt::Debug for LinkerInstance<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LinkerInstance")
            .field("interface", &self.interface)
            .finish_non_exhaustive()
    }
}

impl<T: 'static> LinkerInstance<'_, T> {
    /// Defines a function.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn func_wrap<F, P, R>(&mut self, name: &str, func: F) -> Result<()>
    where
        F: Fn(StoreContextMut<'_, T>, P) -> Result<R> + Send + Sync + 'static,
        P: ComponentNamedList + Lift + Traced + 'static,
        R: ComponentNamedList + Lower + Traced + 'static,
    {
        let function = Arc::new(Function::new(&self.interface, name));
        self.inner.func_wrap(
            name,
            move |mut store: StoreContextMut<'_, T>, params: P| match watch(
                &mut store, &function, &params,
            ) {
                Watched::Not => func(store, params),
                Watched::Answered(answer) => answer,
                Watched::By(watch) => {
                    let result = func(store.as_context_mut(), params);
                    watch.ended(&mut store, &result);
                    result
                }
            },
        )
    }

    /// See wasmtime.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn resource(
        &mut self,
        name: &str,
        ty: ResourceType,
        dtor: impl Fn(StoreContextMut<'_, T>, u32) -> Result<()> + Send + Sync + 'static,
    ) -> Result<()> {
        self.inner.resource(name, ty, dtor)
    }
}

impl<T: Send + 'static> LinkerInstance<'_, T> {
    /// Defines a function that waits.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn func_wrap_async<P, R, F>(&mut self, name: &str, func: F) -> Result<()>
    where
        F: Fn(StoreContextMut<'_, T>, P) -> Box<dyn Future<Output = Result<R>> + Send + '_>
            + Send
            + Sync
            + 'static,
        P: ComponentNamedList + Lift + Traced + Send + 'static,
        R: ComponentNamedList + Lower + Traced + Send + 'static,
    {
        let function = Arc::new(Function::new(&self.interface, name));
        let func = Arc::new(func);
        self.inner
            .func_wrap_async(
                name,
                move |mut store: StoreContextMut<'_, T>, params: P| match watch(
                    &mut store, &function, &params,
                ) {
                    Watched::Not => func(store, params),
                    Watched::Answered(answer) => Box::new(async move { answer }),
                    Watched::By(watch) => {
                        let func = Arc::clone(&func);
                        Box::new(async move {
                            let result = Box::into_pin(func(store.as_context_mut(), params)).await;
                            watch.ended(&mut store, &result);
                            result
                        })
                    }
                },
            )
    }

    /// See wasmtime.
    ///
    /// # Errors
    /// See wasmtime.
    pub fn resource_async<F>(&mut self, name: &str, ty: ResourceType, dtor: F) -> Result<()>
    where
        F: Fn(StoreContextMut<'_, T>, u32) -> Box<dyn Future<Output = Result<()>> + Send + '_>
            + Send
            + Sync
            + 'static,
    {
        self.inner.resource_async(name, ty, dtor)
    }
}

/// Who looks at a call of the host.
enum Watched<R> {
    /// Nobody.
    Not,
    /// A recorder.
    By(Watch),
    /// A replay, which has the answer.
    Answered(Result<R>),
}

/// A call of the host that is under way and watched.
struct Watch {
    recorder: Arc<Recorder>,
    function: Arc<Function>,
    args: Value,
    since: Instant,
}

/// The probe of a call. `T` is always [`CallContext`]; what `bindgen!` writes has to be true of any type.
fn probe<'a, T: 'static>(store: &'a mut StoreContextMut<'_, T>) -> Option<&'a mut CallContext> {
    let context = (store.data_mut() as &mut dyn Any).downcast_mut::<CallContext>()?;
    context.probe.is_some().then_some(context)
}

fn watch<T: 'static, P: Traced, R: Traced>(
    store: &mut StoreContextMut<'_, T>,
    function: &Arc<Function>,
    params: &P,
) -> Watched<R> {
    let Some(context) = probe(store) else {
        return Watched::Not;
    };
    let Some(Probe { recorder, player }) = context.probe.clone() else {
        return Watched::Not;
    };
    if function.is_seen_elsewhere {
        return Watched::Not;
    }
    let args = params.show(&context.table);
    let watch = Watch {
        recorder,
        function: Arc::clone(function),
        args,
        since: Instant::now(),
    };
    watch.hide();
    let Some(player) = player else {
        return Watched::By(watch);
    };
    let recorded = player.answer(function, &watch.args);
    let restored = recorded.as_ref().and_then(|result| {
        // The functions of the WIT return one value, in Rust a tuple of one.
        let list = match result {
            Value::Null => json!([null]),
            result => json!([result]),
        };
        R::restore(&list, &mut context.table)
    });
    let unanswered = restored.is_none();
    let answer = restored.or_else(|| {
        let why = match &recorded {
            Some(result) if is_cut(result) => "the recording has only the length of the answer",
            Some(_) => "the answer in the recording is of another type",
            None => "the recording has no such call",
        };
        R::refusal(&format!("replay: {why}"))
    });
    let answer = answer.ok_or_else(|| {
        Error::msg(format!(
            "replay: the recording has no answer to {}.{}",
            function.interface, function.name
        ))
    });
    watch.note(&mut context.table, &answer, unanswered);
    Watched::Answered(answer)
}

impl Watch {
    /// Tells the recorder of secrets that are handed over.
    fn hide(&self) {
        if self.function.interface.ends_with("/secrets")
            && self.function.name == "keep"
            && let Some(value) = self
                .args
                .get(1)
                .and_then(crate::trace::value::restore_bytes)
        {
            self.recorder.secret(&value);
        }
    }

    fn ended<T: 'static, R: Traced>(self, store: &mut StoreContextMut<'_, T>, result: &Result<R>) {
        if let Some(context) = probe(store) {
            self.note(&mut context.table, result, false);
        }
    }

    fn note<R: Traced>(self, table: &mut ResourceTable, result: &Result<R>, unanswered: bool) {
        let result = match result {
            Ok(result) => match result.show(table) {
                Value::Array(mut list) => list.pop().unwrap_or_default(),
                other => other,
            },
            Err(error) => json!({ "trap": format!("{error:#}") }),
        };
        if self.function.interface.ends_with("/secrets")
            && self.function.name.ends_with(".reveal")
            && let Some(value) = result
                .get("ok")
                .and_then(crate::trace::value::restore_bytes)
        {
            self.recorder.secret(&value);
        }
        self.recorder.called(HostCall {
            interface: self.function.interface.clone(),
            function: self.function.name.clone(),
            args: self.args,
            result,
            micros: micros(self.since.elapsed()),
            unanswered,
        });
    }
}
