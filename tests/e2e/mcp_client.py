"""Drives an MCP server with the client of the official SDK: `mcp_client.py SCRIPT COMMAND ARGS...`.

The script is a JSON list of calls `[tool, arguments]`; a text `$run` in arguments is the last
`run_id` that came back. It prints the server's name and tools and what each call gave.
"""

import asyncio
import json
import os
import sys

from mcp import StdioServerParameters
from mcp.client.client import Client


async def main():
    calls = json.loads(sys.argv[1])
    server = StdioServerParameters(command=sys.argv[2], args=sys.argv[3:], env=dict(os.environ))
    run = None
    async with Client(server, read_timeout_seconds=60) as client:
        listed = await client.list_tools()
        shown = {"tools": [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.tools], "answers": []}
        for tool, arguments in calls:
            arguments = {name: run if value == "$run" else value for name, value in arguments.items()}
            result = await client.call_tool(tool, arguments)
            text = "\n".join(block.text for block in result.content)
            shown["answers"].append({"error": bool(result.is_error), "text": text, "value": result.structured_content})
            run = (result.structured_content or {}).get("run_id", run)
        print(json.dumps(shown))


asyncio.run(main())
