# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tests.functional.conftest import rabbit as rabbit
from tests.functional.conftest import rabbit_node as rabbit_node
