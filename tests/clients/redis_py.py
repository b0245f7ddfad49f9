"""Drives the server on 127.0.0.1 at the port in the first argument with redis-py.

Exits 0 after printing "all passed", 77 when redis-py is missing or older than 5.0 (RESP3), 1 at the first failure.
"""

import sys
import threading

try:
    import redis
except ImportError:
    print("redis-py is not installed")
    sys.exit(77)

if int(redis.__version__.split(".")[0]) < 5:
    print(f"redis-py {redis.__version__} is too old, 5.0 is needed")
    sys.exit(77)

PORT = int(sys.argv[1])


def connect(**options):
    return redis.Redis(host="127.0.0.1", port=PORT, socket_timeout=30, **options)


def check_plain(r):
    r.flushall()
    assert r.ping() is True
    assert r.set("hits", 5) is True
    assert r.get("hits") == b"5"
    assert r.incr("hits") == 6
    assert r.incrby("hits", 10) == 16
    assert r.decr("hits", 6) == 10
    assert r.set("hits", 1, nx=True) is None
    assert r.set("hits", 11, xx=True, get=True) == b"10"
    assert r.set("short", 1, ex=100) is True
    assert 98 <= r.ttl("short") <= 100
    assert r.expire("hits", 1000) in (True, 1)
    assert r.expire("hits", 10, nx=True) in (False, 0)
    assert r.persist("hits") in (True, 1)
    assert r.ttl("hits") == -1
    assert r.ttl("nosuch") == -2
    assert r.mset({"a": 1, "b": 2}) is True
    assert r.mget("a", "nosuch", "b") == [b"1", None, b"2"]
    assert r.msetnx({"b": 1, "c": 2}) in (False, 0)
    assert r.exists("a", "b", "c") == 2
    assert r.getdel("a") == b"1"
    assert r.getex("b", ex=100) == b"2"
    assert r.type("b") == b"string"
    assert r.rename("b", "d") is True
    assert r.delete("d", "nosuch") == 1
    assert r.dbsize() == 2
    assert sorted(r.keys("*")) == [b"hits", b"short"]
    assert r.echo("hello") == b"hello"
    assert len(r.time()) == 2
    assert r.execute_command("MINCRBY", "a", 1, "b", 2) == [1, 2]
    for command in (lambda: r.set("hits", "many"), lambda: r.execute_command("NOSUCH")):
        try:
            command()
        except redis.ResponseError:
            pass
        else:
            raise AssertionError("an error was expected")


def check_connection(r):
    assert r.client_setname("tester") is True
    assert r.client_getname() in ("tester", b"tester")
    assert r.client_id() > 0
    assert r.client_setinfo("LIB-NAME", "redis-py") in (True, b"OK", "OK")
    clients = r.client_list()
    assert any(client["name"] == "tester" for client in clients), clients
    info = r.info()
    for field in ("redis_version", "tcp_port", "connected_clients", "used_memory", "role", "total_commands_processed"):
        assert field in info, field
    assert info["role"] == "master"
    assert info["tcp_port"] == PORT
    assert isinstance(info["used_memory"], int)
    assert r.info("server")["redis_version"]
    assert "maxmemory" in r.config_get("maxmemory")
    assert r.command_count() > 50
    assert "get" in r.command()
    assert isinstance(r.slowlog_get(), list)


def check_pipelines(r):
    r.flushall()
    for transaction in (True, False):
        r.delete("a", "b")
        pipe = r.pipeline(transaction=transaction)
        for _ in range(100):
            pipe.incr("a").incrby("b", 2)
        replies = pipe.get("a").mget("a", "b", "nosuch").execute()
        assert len(replies) == 202
        assert replies[198:200] == [100, 200]
        assert replies[200] == b"100"
        assert replies[201] == [b"100", b"200", None]
        pipe = r.pipeline(transaction=transaction)
        replies = pipe.incr("a").set("a", "many").incr("a").execute(raise_on_error=False)
        assert replies[0] == 101 and replies[2] == 102
        assert isinstance(replies[1], redis.ResponseError)


def check_watch():
    def count():
        r = connect()
        for _ in range(25):
            with r.pipeline() as pipe:
                for _ in range(10_000):
                    try:
                        pipe.watch("watched")
                        value = int(pipe.get("watched") or 0)
                        pipe.multi()
                        pipe.set("watched", value + 1)
                        pipe.execute()
                        break
                    except redis.WatchError:
                        continue
                else:
                    raise AssertionError("10,000 tries")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert connect().get("watched") == b"100", connect().get("watched")


def check_scan(r):
    r.flushall()
    names = {f"scan:{n}" for n in range(500)}
    r.mset({name: 1 for name in names})
    r.set("other", 1)
    assert {key.decode() for key in r.scan_iter(match="scan:*", count=50)} == names
    assert {key.decode() for key in r.scan_iter(_type="string")} == names | {"other"}
    assert list(r.scan_iter(_type="list")) == []


def main():
    print("redis-py", redis.__version__)
    for protocol in (2, 3):
        r = connect(protocol=protocol)
        check_plain(r)
        # An explicit connection: what a client is told belongs to it alone.
        check_connection(connect(protocol=protocol, single_connection_client=True))
        check_pipelines(r)
        check_scan(r)
        decoded = connect(protocol=protocol, decode_responses=True)
        decoded.set("text", 5)
        assert decoded.get("text") == "5"
        assert decoded.mget(["text"]) == ["5"]
        assert "text" in decoded.keys("t*")
    connect().delete("watched")
    check_watch()
    print("all passed")


main()
