"""An ASGI application that reports what reached it."""
import asyncio
import json


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            await send({"type": "websocket.send", "text": message.get("text")})
    if scope["path"].endswith("/events"):
        await send({
            "type": "http.response.start", "status": 200,
            "headers": [(b"content-type", b"text/event-stream")],
        })
        while True:
            await send({"type": "http.response.body", "body": b"data: x\n\n", "more_body": True})
            await asyncio.sleep(0.05)
    report = json.dumps({
        "version": scope["http_version"], "method": scope["method"],
        "path": scope["raw_path"].decode("latin1"), "query": scope["query_string"].decode("latin1"),
        "headers": [[name.decode("latin1"), value.decode("latin1")] for name, value in scope["headers"]],
    }).encode()
    await send({
        "type": "http.response.start", "status": 200,
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(report)).encode())],
    })
    await send({"type": "http.response.body", "body": report})
