//! Lines for the plugin's log (`wasi:logging/logging`): `log::info!("made {name}")`.
//!
//! ```
//! use dockside_driver::{log, testing};
//!
//! let name = "v";
//! log::warn!("volume {name} has no directory");
//! assert_eq!(testing::log(), [(log::Level::Warn, "volume v has no directory".into())]);
//! ```

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What an operator may want to know.
    Info,
    /// Something that may become a problem.
    Warn,
    /// A problem.
    Error,
}

/// Writes a line. `context` says which part of the driver speaks. The macros of this module put the module's path there.
pub fn write(level: Level, context: &str, message: &str) {
    crate::sys::log(level, context, message);
}

#[doc(hidden)]
#[macro_export]
macro_rules! __log {
    ($level:ident, $($text:tt)+) => {
        $crate::log::write($crate::log::Level::$level, module_path!(), &format!($($text)+))
    };
}

macro_rules! levels {
    ($dollar:tt $($inner:ident $name:ident $level:ident,)*) => {
        $(
            #[doc(hidden)]
            #[macro_export]
            macro_rules! $inner {
                ($dollar($dollar text:tt)+) => { $crate::__log!($level, $dollar($dollar text)+) };
            }
            #[doc(inline)]
            pub use $inner as $name;
        )*
    };
}

levels! { $
    __log_trace trace Trace,
    __log_debug debug Debug,
    __log_info info Info,
    __log_warn warn Warn,
    __log_error error Error,
}
