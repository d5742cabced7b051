# SPDX-License-Identifier: Apache-2.0
"""``python -m l3agent`` is ``l3-agent``."""

import sys

if __name__ == "__main__":
    # Imported here: the first statement of the module patches the process.
    from l3agent.cmd.agent import main

    sys.exit(main())
