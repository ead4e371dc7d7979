"""`python -m stepladder`. `torchrun -m stepladder` starts it as often as there are ranks: the first does what the command says, and
the others what it has to be done by all."""

import os
import signal
import sys

from stepladder.cli import main

if __name__ == "__main__":
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from stepladder.train.parallel import launched

        started = launched()
        assert started is not None
        if started.rank:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C is the first rank's to speak of
            sys.path.insert(0, "")
            started.serve()
            sys.exit(0)
        try:
            main()
        except SystemExit as end:
            if end.code:
                started.fail()
            else:
                started.dismiss()
            raise
    main()
