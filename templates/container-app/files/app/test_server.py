"""Tests: `python3 -m unittest` in this directory."""

import json
import threading
import unittest
from http.server import ThreadingHTTPServer
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from server import Handler


class ServerTest(unittest.TestCase):
    def setUp(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.address + path, data), timeout=5) as answer:
            return json.load(answer)

    def test_it_is_healthy(self):
        self.assertEqual(self.ask("/health"), {"status": "healthy"})

    def test_it_greets(self):
        self.assertEqual(self.ask("/")["greeting"], "Hello, world!")
        self.assertEqual(self.ask("/", {"name": "Ada"})["greeting"], "Hello, Ada!")

    def test_it_refuses_what_it_does_not_understand(self):
        for path, body, status in [("/nowhere", None, 404), ("/", ["no object"], 400)]:
            with self.assertRaises(HTTPError) as caught:
                self.ask(path, body)
            self.assertEqual(caught.exception.code, status)
            caught.exception.close()


if __name__ == "__main__":
    unittest.main()
