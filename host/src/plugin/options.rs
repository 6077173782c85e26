//! stub
#![allow(missing_docs, unreachable_pub, dead_code, unused)]
use crate::protocol::KeyValue;
use crate::protocol::describe::*;
/// s
pub fn check(_: &[Declaration], _: Subject, given: Vec<KeyValue>) -> Result<Vec<KeyValue>, String> {
    Ok(given)
}
