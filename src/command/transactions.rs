//! The commands of transactions. Queueing, and what is refused while it goes on, is the session's.

use super::{Call, Env, Mistake, Task, key, mistake};
use crate::client::Client;
use crate::resp::encode;

/// `MULTI`.
pub fn multi(client: &mut Client, _: &Env<'_>, _: &Call<'_>, out: &mut Vec<u8>) -> Result<(), Mistake> {
    if client.transaction.is_some() {
        return Err(mistake::MULTI_NESTED);
    }
    client.transaction = Some(Box::default());
    encode::simple(out, "OK");
    Ok(())
}

/// `EXEC`.
pub fn exec(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Exec)
}

/// `DISCARD`.
pub fn discard(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Discard)
}

/// `WATCH key [key …]`.
pub fn watch(_: &Env<'_>, call: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Watch((1..call.count()).map(|at| key(call, at)).collect::<Result<_, _>>()?))
}

/// `UNWATCH`.
pub fn unwatch(_: &Env<'_>, _: &Call<'_>) -> Result<Task, Mistake> {
    Ok(Task::Unwatch)
}
