"""The peer of CPU per poll: a loop of ``requests.Session().post(...).json()`` that signs and does nothing else.

``python bare_loop.py URL KEY_ID KEY ACTION_ID REQUESTS PAUSE`` prints the CPU time of a request in milliseconds,
without those of the start.
"""

import hashlib
import secrets
import sys
import time

import requests

_WARM_UP = 20


def main() -> None:
    """Ask for one action again and again, with a pause between requests that may be 0."""
    url, key_id, key, action_id, count, pause_seconds = sys.argv[1:]
    body = {"request_data": {"action_id": action_id}}
    session = requests.Session()
    began = 0.0
    for number in range(int(count) + _WARM_UP):
        if number == _WARM_UP:
            began = time.process_time()
        nonce = secrets.token_hex(32)
        timestamp = str(int(time.time() * 1000))
        headers = {
            "x-xdr-auth-id": key_id,
            "x-xdr-nonce": nonce,
            "x-xdr-timestamp": timestamp,
            "Authorization": hashlib.sha256(f"{key}{nonce}{timestamp}".encode()).hexdigest(),
        }
        assert session.post(url, json=body, headers=headers).json()["reply"]["error_message"] == ""
        if float(pause_seconds):
            time.sleep(float(pause_seconds))
    print(1000 * (time.process_time() - began) / int(count))


if __name__ == "__main__":
    main()
