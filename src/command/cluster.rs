//! The commands of cluster clients: which shard owns which slots, and where it listens.

use super::{Call, ClusterView, Env, Mistake, Task, connection, mistake, strings};
use crate::client::Client;
use crate::limits::SLOT_COUNT;
use crate::resp::encode;
use crate::slot;

/// The server was started without `--cluster-enabled yes`.
const DISABLED: Mistake = mistake::fixed("ERR This instance has cluster support disabled");

/// `CLUSTER SLOTS`.
pub fn slots(env: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    view(env, ClusterView::Slots)
}

/// `CLUSTER SHARDS`.
pub fn shards(env: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    view(env, ClusterView::Shards)
}

/// `CLUSTER NODES`.
pub fn nodes(env: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    view(env, ClusterView::Nodes)
}

/// `CLUSTER INFO`.
pub fn info(env: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    view(env, ClusterView::Info)
}

/// `CLUSTER MYID`.
pub fn myid(env: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    view(env, ClusterView::MyId)
}

/// `CLUSTER KEYSLOT key`.
pub fn keyslot(_: &mut Client, env: &Env<'_>, call: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    enabled(env)?;
    encode::integer(out, slot::of(call.arg(2)).into());
    Ok(())
}

/// `CLUSTER COUNTKEYSINSLOT slot`.
pub fn countkeysinslot(env: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    enabled(env)?;
    let slot = slot_argument(strings::value(call.arg(2))?).ok_or(mistake::fixed("ERR Invalid slot"))?;
    Ok(Task::CountKeysInSlot(slot))
}

/// `CLUSTER GETKEYSINSLOT slot count`.
pub fn getkeysinslot(env: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    enabled(env)?;
    let (slot, count) = (strings::value(call.arg(2))?, strings::value(call.arg(3))?);
    match (slot_argument(slot), u64::try_from(count)) {
        (Some(slot), Ok(count)) => Ok(Task::GetKeysInSlot { slot, count }),
        _ => Err(mistake::fixed("ERR Invalid slot or number of keys")),
    }
}

/// `CLUSTER HELP`.
pub fn help(env: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    enabled(env)?;
    connection::help(env, call)
}

/// `READONLY`, `READWRITE`: there are no replicas to read from.
pub fn accept(_: &mut Client, env: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    enabled(env)?;
    encode::simple(out, "OK");
    Ok(())
}

fn enabled(env: &Env<'_>) -> Result<(), Mistake> {
    if env.cluster { Ok(()) } else { Err(DISABLED) }
}

fn view(env: &Env<'_>, view: ClusterView) -> Result<Task, Mistake> {
    enabled(env)?;
    Ok(Task::Cluster(view))
}

fn slot_argument(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|slot| usize::from(*slot) < SLOT_COUNT)
}
