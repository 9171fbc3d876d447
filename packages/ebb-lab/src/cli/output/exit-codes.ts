/** Exit codes of every command. */
export const EXIT = {
  /** Bad input, or something that the run needs is missing. */
  wrong: 1,
  /** The run is complete, but connections failed or were lost. */
  failures: 2,
  /** A limit (`--max-...`) was exceeded. */
  broken: 3,
  /** An agent of the swarm was lost, so there were fewer connections than planned. */
  degraded: 4,
  /** Ctrl-C, SIGTERM or SIGHUP before there was a result. */
  interrupted: 130
} as const
