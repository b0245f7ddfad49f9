"""Drives a cluster of shards on 127.0.0.1 with redis-py's RedisCluster, which starts at the port in the first argument.

Exits 0 after printing "all passed", 77 when redis-py is missing or older than 5.0 (RESP3), 1 at the first failure.
"""

import sys

try:
    import redis
    from redis.cluster import ClusterNode, RedisCluster
except ImportError:
    print("redis-py is not installed")
    sys.exit(77)

if int(redis.__version__.split(".")[0]) < 5:
    print(f"redis-py {redis.__version__} is too old, 5.0 is needed")
    sys.exit(77)

PORT = int(sys.argv[1])
SHARD_COUNT = int(sys.argv[2])
KEY_COUNT = 300


def check(r):
    r.flushall()
    assert len(r.get_primaries()) == SHARD_COUNT, r.get_nodes()
    names = [f"key:{n}" for n in range(KEY_COUNT)]
    for n, name in enumerate(names):
        assert r.incrby(name, n + 1) == n + 1
    for n, name in enumerate(names):
        assert r.get(name) == str(n + 1).encode()
        assert r.keyslot(name) == r.cluster_keyslot(name)
    # What all nodes say together is what there is: each key once.
    every = {"target_nodes": RedisCluster.PRIMARIES}
    assert r.dbsize(**every) == KEY_COUNT
    assert sorted(key.decode() for key in r.keys("*", **every)) == sorted(names)
    assert sorted(key.decode() for key in r.scan_iter(count=20)) == sorted(names)
    assert r.mset({"{tag}a": 1, "{tag}b": 2}) is True
    assert r.mget("{tag}a", "{tag}b", "{tag}c") == [b"1", b"2", None]
    assert r.execute_command("MINCRBY", "{tag}a", 5, "{tag}b", 5) == [6, 7]
    assert r.mget_nonatomic(names) == [str(n + 1).encode() for n in range(KEY_COUNT)]
    assert r.cluster_countkeysinslot(r.keyslot("{tag}a")) >= 2
    keys = r.cluster_get_keys_in_slot(r.keyslot("{tag}a"), 1_000)
    assert {"{tag}a", "{tag}b"} <= {key.decode() if isinstance(key, bytes) else key for key in keys}
    pipe = r.pipeline()
    for name in names:
        pipe.incr(name)
    assert pipe.execute() == [n + 2 for n in range(KEY_COUNT)]
    assert r.delete(*names[:100]) == 100
    assert r.readonly(target_nodes=RedisCluster.ALL_NODES)
    states = r.cluster_info(target_nodes=RedisCluster.ALL_NODES)
    assert {state["cluster_state"] for state in states.values()} == {"ok"}, states
    assert len(r.cluster_nodes()) == SHARD_COUNT
    ids = {r.cluster_myid(node) for node in r.get_primaries()}
    assert len(ids) == SHARD_COUNT, ids
    assert r.rename("{tag}a", "{tag}z") is True
    assert r.flushall()
    assert r.dbsize(**every) == 0


def main():
    print("redis-py", redis.__version__)
    for protocol in (2, 3):
        node = ClusterNode("127.0.0.1", PORT)
        check(RedisCluster(startup_nodes=[node], protocol=protocol, socket_timeout=30))
    # The main port is no node: a plain client reaches every key there.
    plain = redis.Redis(host="127.0.0.1", port=PORT, socket_timeout=30)
    assert plain.mset({f"plain:{n}": n for n in range(100)}) is True
    assert plain.mget([f"plain:{n}" for n in range(100)]) == [str(n).encode() for n in range(100)]
    pipe = plain.pipeline()
    for n in range(100):
        pipe.incr(f"plain:{n}")
    assert pipe.execute() == [n + 1 for n in range(100)]
    print("all passed")


main()
