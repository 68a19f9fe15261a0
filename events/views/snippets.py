"""The first event in four languages, ready to be pasted: the real address and, while it is known, the real key."""

import json
from dataclasses import dataclass
from typing import Final

from django.conf import settings

EVENT: Final = {"name": "signed_up", "user_id": "ada", "properties": {"plan": "pro", "seats": 3}}
NO_KEY: Final = "YOUR_WRITE_KEY"


@dataclass(frozen=True, slots=True)
class Snippet:
    id: str
    label: str
    code: str
    note: str


def snippets(key: str | None) -> list[Snippet]:
    """Returns one for each language; each sends the same event. `key`: None where it was shown before."""
    address, secret, event = f"{settings.PUBLIC_URL}/v1/events", key or NO_KEY, json.dumps(EVENT)
    indented = json.dumps(EVENT, indent=2)
    curl = (
        f"curl -X POST {address} \\\n  -H 'Authorization: Bearer {secret}' \\\n"
        f"  -H 'Content-Type: application/json' \\\n  -d '{event}'"
    )
    python = f"""import json
import urllib.request

event = {indented}

request = urllib.request.Request(
    "{address}",
    data=json.dumps(event).encode(),
    headers={{"Authorization": "Bearer {secret}", "Content-Type": "application/json"}},
)
with urllib.request.urlopen(request) as answer:
    print(answer.status, answer.read().decode())
"""
    node = f"""const answer = await fetch("{address}", {{
  method: "POST",
  headers: {{ Authorization: "Bearer {secret}", "Content-Type": "application/json" }},
  body: JSON.stringify({event}),
}});
console.log(answer.status, await answer.text());
"""
    browser = f"""<script type="module">
  await fetch("{address}", {{
    method: "POST",
    keepalive: true,
    headers: {{ Authorization: "Bearer {secret}", "Content-Type": "application/json" }},
    body: JSON.stringify({event}),
  }});
</script>
"""
    return [
        Snippet("curl", "curl", curl, "In a terminal."),
        Snippet("python", "Python", python, "Python 3, nothing to install."),
        Snippet("node", "Node", node, "Node 18 or newer, as a module (first.mjs)."),
        Snippet(
            "browser", "Browser", browser, "Everybody can read a key in a page: name its origins in Settings."
        ),
    ]
