//! `CONFIG GET` and `CONFIG SET`: the settings by their names in redis.conf.

use std::collections::BTreeMap;

use super::{Place, appendonly};
use crate::config::{AppendFsync, ByteCount, TCP_KEEPALIVE_MAX_S, YesNo, ranges};
use crate::glob;
use crate::journal::shared::Journals;
use crate::limits::{ARGUMENT_BYTES_MAX, NAME_PATTERN_BYTES_MAX, SLOWLOG_COUNT_MAX};
use crate::mesh::Ask;
use crate::resp::{encode, integer};
use crate::server::{Live, Shared};

/// `CONFIG GET pattern [pattern …]`: a map of names and values. What is no pattern is told by the name that it was asked by,
/// as in Redis.
pub(super) fn get(place: Place<'_>, patterns: &[String], out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    if patterns.iter().map(String::len).sum::<usize>() > NAME_PATTERN_BYTES_MAX {
        return encode::error(
            out,
            &format!("ERR patterns of settings have at most {NAME_PATTERN_BYTES_MAX} bytes together"),
        );
    }
    let mut told: Vec<(&str, String)> = Vec::new();
    let all = all(&shard.shared, &shard.live());
    for pattern in patterns {
        let is_name = !pattern.contains(['[', '*', '?']);
        for (&name, value) in &all {
            let matches = glob::matches_ignore_case(pattern.as_bytes(), name.as_bytes());
            if matches && !told.iter().any(|(before, _)| before.eq_ignore_ascii_case(name)) {
                told.push((if is_name { pattern } else { name }, value.clone()));
            }
        }
    }
    encode::map(out, told.len(), place.resp3());
    for (name, value) in told {
        encode::bulk(out, name.as_bytes());
        encode::bulk(out, value.as_bytes());
    }
}

/// `CONFIG SET name value [name value …]`: all of them, or none.
pub(super) async fn set(place: Place<'_>, pairs: &[(String, String)], out: &mut Vec<u8>) {
    let shard = &place.connection.shard;
    let done = match changed(&shard.shared, &shard.live(), pairs) {
        Ok((_, Some(on))) => appendonly::set(place, on).await.map_err(|why| Refused::Failed(why).text("appendonly")),
        Ok((_, None)) => Ok(()),
        Err(text) => Err(text),
    };
    // Others may have changed settings meanwhile, and may not while this is done.
    let done = done.and_then(|()| {
        shard.shared.change_live(|current| {
            let (live, _) = changed(&shard.shared, current, pairs)?;
            let begins_always = is_always(&live) && !is_always(current);
            // It would end the server, with what was counted since the disk has failed.
            match shard.shared.journals.as_ref().filter(|_| begins_always).and_then(Journals::refusal) {
                Some(refusal) => Err(Refused::Failed(refusal).text("appendfsync")),
                None => Ok(live),
            }
        })
    });
    match done {
        Ok(()) => {
            // What is promised holds at once, on shards too that serve no client just now.
            place.ask_all(|| Ask::FollowSettings, |_| ()).await;
            if is_always(&shard.live()) {
                // Replies from before may be on their way still, and tell of what is not on the disk.
                shard.touch_all(place.waiter);
            }
            encode::simple(out, "OK");
        }
        Err(text) => encode::error(out, &text),
    }
}

fn is_always(live: &Live) -> bool {
    live.appendfsync == AppendFsync::Always
}

/// The settings with all changes, and whether the journals are to be on, if that is among them; or the error.
fn changed(shared: &Shared, current: &Live, pairs: &[(String, String)]) -> Result<(Live, Option<bool>), String> {
    let mut live = current.clone();
    let mut appendonly = None;
    let mut refused_value = None;
    for (index, (given, value)) in pairs.iter().enumerate() {
        let name = given.to_lowercase();
        let result = if pairs[..index].iter().any(|(earlier, _)| earlier.eq_ignore_ascii_case(given)) {
            Err(Refused::Duplicate)
        } else if name == "appendonly" {
            yes_or_no(value).map(|on| appendonly = Some(on))
        } else {
            change(&mut live, shared, current, &name, value)
        };
        match result {
            Ok(()) => {}
            // As in Redis: names are looked at before values, and are told as they were given.
            Err(refused @ (Refused::Unknown | Refused::Immutable | Refused::Duplicate)) => {
                return Err(refused.text(given));
            }
            Err(refused) => _ = refused_value.get_or_insert_with(|| refused.text(&name)),
        }
    }
    refused_value.map_or(Ok((live, appendonly)), Err)
}

enum Refused {
    Unknown,
    Immutable,
    Duplicate,
    Invalid(&'static str),
    /// The least and the greatest value that there may be.
    Outside(i64, i64),
    Failed(String),
}

impl Refused {
    fn text(&self, name: &str) -> String {
        let name: String = name.chars().filter(|c| !c.is_control()).take(128).collect();
        let failed = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - ");
        match self {
            Refused::Unknown => {
                format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")
            }
            Refused::Immutable => failed + "can't set immutable config",
            Refused::Duplicate => failed + "duplicate parameter",
            Refused::Invalid(why) => failed + why,
            Refused::Outside(min, max) => failed + &format!("argument must be between {min} and {max} inclusive"),
            Refused::Failed(why) => failed + why,
        }
    }
}

/// One change; to what the setting is already, also an immutable one may be "set".
fn change(live: &mut Live, shared: &Shared, current: &Live, name: &str, value: &str) -> Result<(), Refused> {
    let seconds = || integer(value, 0, i32::MAX.into()).map(|seconds| seconds as u32);
    match name {
        "maxclients" => {
            let count = integer(value, 1, u32::MAX.into())? as u32;
            if count > shared.config.maxclients {
                return Err(Refused::Invalid("it can be lowered only: descriptors were reserved at start-up"));
            }
            live.maxclients = count;
        }
        "maxmemory" => {
            live.maxmemory_bytes =
                value.parse::<ByteCount>().map_err(|_| Refused::Invalid("argument must be a memory value"))?.0;
        }
        "appendfsync" => {
            live.appendfsync = value
                .to_lowercase()
                .parse()
                .map_err(|_| Refused::Invalid("argument(s) must be one of the following: everysec, always, no"))?;
        }
        "auto-aof-rewrite-percentage" => {
            live.auto_aof_rewrite_percentage = integer(value, 0, i32::MAX.into())? as u32;
        }
        "auto-aof-rewrite-min-size" => {
            live.auto_aof_rewrite_min_bytes =
                value.parse::<ByteCount>().map_err(|_| Refused::Invalid("argument must be a memory value"))?.0;
        }
        "request-timeout" => live.request_timeout_s = seconds()?,
        "reply-timeout" => live.reply_timeout_s = seconds()?,
        "auth-timeout" => live.auth_timeout_s = seconds()?,
        "timeout" => live.timeout_s = seconds()?,
        "tcp-keepalive" => live.tcp_keepalive_s = integer(value, 0, TCP_KEEPALIVE_MAX_S.into())? as u32,
        "requirepass" => {
            if value.len() > ARGUMENT_BYTES_MAX {
                return Err(Refused::Invalid("it is longer than an argument can be"));
            }
            live.requirepass = (!value.is_empty()).then(|| value.into());
        }
        "latency-monitor-threshold" => live.latency_monitor_threshold_ms = integer(value, 0, i64::MAX)? as u64,
        "slowlog-log-slower-than" => live.slowlog_slower_than_us = integer(value, -1, i64::MAX)?,
        "slowlog-max-len" => live.slowlog_count_max = integer(value, 0, SLOWLOG_COUNT_MAX as i64)? as usize,
        _ => match all(shared, current).get(name) {
            None => return Err(Refused::Unknown),
            Some(now) if now != value => return Err(Refused::Immutable),
            Some(_) => {}
        },
    }
    Ok(())
}

fn integer(value: &str, min: i64, max: i64) -> Result<i64, Refused> {
    let value =
        integer::parse(value.as_bytes()).ok_or(Refused::Invalid("argument couldn't be parsed into an integer"))?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(Refused::Outside(min, max)) }
}

fn yes_or_no(value: &str) -> Result<bool, Refused> {
    let YesNo(answer) = value.to_lowercase().parse().map_err(|_| Refused::Invalid("argument must be 'yes' or 'no'"))?;
    Ok(answer)
}

/// As Redis tells its directory.
fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Every setting, by name.
fn all(shared: &Shared, live: &Live) -> BTreeMap<&'static str, String> {
    let config = &shared.config;
    let bind: Vec<String> = config.bind.iter().map(ToString::to_string).collect();
    let metrics_bind: Vec<String> = config.metrics_bind.iter().map(ToString::to_string).collect();
    let unixsocket = config.unixsocket.as_ref().map(|path| path.display().to_string());
    let pinned: Option<Vec<usize>> = config.pin.iter().copied().collect();
    let told = |yes: bool| String::from(if yes { "yes" } else { "no" });
    BTreeMap::from([
        ("appendfsync", live.appendfsync.name().into()),
        ("appendonly", told(shared.journals.as_ref().is_some_and(Journals::is_on))),
        ("auth-timeout", live.auth_timeout_s.to_string()),
        ("auto-aof-rewrite-min-size", live.auto_aof_rewrite_min_bytes.to_string()),
        ("auto-aof-rewrite-percentage", live.auto_aof_rewrite_percentage.to_string()),
        ("bind", bind.join(" ")),
        ("buffers", config.fixed_buffer_count.to_string()),
        ("busy-poll", config.busy_poll.to_string()),
        ("cluster-enabled", told(config.cluster_enabled)),
        ("databases", "1".into()),
        ("dir", absolute(&config.dir)),
        ("enable-debug-command", told(config.enable_debug_command)),
        ("io-threads", config.threads.to_string()),
        ("latency-monitor-threshold", live.latency_monitor_threshold_ms.to_string()),
        ("latency-tracking", "yes".into()),
        ("latency-tracking-info-percentiles", "50 99 99.9".into()),
        ("loglevel", config.log_level.to_string()),
        ("maxclients", live.maxclients.to_string()),
        ("maxmemory", live.maxmemory_bytes.to_string()),
        ("maxmemory-policy", "noeviction".into()),
        ("maxmemory-clients", config.maxmemory_clients_bytes.to_string()),
        ("metrics-bind", metrics_bind.join(" ")),
        ("metrics-port", config.metrics_port.to_string()),
        ("pin", pinned.map_or("none".into(), |cores| ranges(&cores))),
        ("port", shared.port().to_string()),
        ("requirepass", live.requirepass.as_deref().unwrap_or_default().to_owned()),
        ("reply-timeout", live.reply_timeout_s.to_string()),
        ("request-timeout", live.request_timeout_s.to_string()),
        ("save", String::new()),
        ("slowlog-log-slower-than", live.slowlog_slower_than_us.to_string()),
        ("slowlog-max-len", live.slowlog_count_max.to_string()),
        ("tcp-backlog", config.tcp_backlog.to_string()),
        ("tcp-keepalive", live.tcp_keepalive_s.to_string()),
        ("threads", config.threads.to_string()),
        ("timeout", live.timeout_s.to_string()),
        ("unixsocket", unixsocket.unwrap_or_default()),
        ("unixsocketperm", config.unixsocketperm.map_or("0".into(), |mode| format!("{mode:o}"))),
    ])
}
