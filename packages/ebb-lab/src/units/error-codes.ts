/**
 * Every code that this package puts on an error by itself, with its cause in one sentence. `docs/errors.md` adds who
 * throws it and what to do.
 *
 * Errors of failed system calls carry the errno of the call as well (`ENOSPC`, ...); those are not listed.
 */
export const ERROR_CODES = {
  EACCES: 'This user may not inspect a process, join a cgroup, or connect to a target that the agent does not allow.',
  EADDRINUSE: 'The port that was given for a page or for metrics is in use.',
  EADDRNOTAVAIL:
    'A server gets more connections than there are local ports, or a source is not an address of this machine.',
  EAGENTLOST: 'An agent of a swarm was lost: its connections count as failed or lost with this cause.',
  EBADF: 'A line was written to a recording that is closed.',
  ECHILD: 'A command was started without a process id or without output.',
  EEXIST:
    'Several processes or ports match where one is needed, two servers have one name, or a file would be overwritten.',
  EINTR: 'A signal interrupted the run.',
  EINVAL:
    'A command is empty, a port is not a port, a server has no port, or a remote server was given without a swarm.',
  EMFILE: 'A server or the client is to hold more connections than its descriptor limit allows.',
  ENOMEM: 'No process fits into the memory limit of a box.',
  ENOTSUP: 'The memory controller of cgroups is not available to this user, or a process cannot release memory.',
  EPERM: 'A process that was started belongs to another user now and may not be stopped.',
  EREMOTE: 'An agent that is to record a server cannot record it, or stopped recording.',
  ERR_BOX_INVALID: 'The file of a box has mistakes, or this machine cannot run what it describes.',
  ERR_EBB_HISTOGRAM: 'Latencies from another process cannot be decoded or merged.',
  ERR_EBB_INSPECT_BUSY:
    'A process has not answered at its inspector in time: its event loop is busy, or a debugger has stopped it.',
  ERR_EBB_INSPECT_FAILED: 'A process has not answered at its inspector; the message says why.',
  ERR_EBB_INSPECT_NAMESPACE: 'The inspector of a process is in another network namespace, and cannot be reached.',
  ERR_EBB_INSPECT_SIGNAL: 'SIGUSR1 does not open the inspector of a process, or would end the process.',
  ERR_EBB_INSPECT_STOPPED: 'A process that is stopped cannot be asked through its inspector.',
  ERR_EBB_MESSAGE: 'A message of a swarm is too large, malformed, or of another protocol version.',
  ERR_EBB_NOT_NODE: 'A process has no inspector, because its runtime is not Node.',
  ERR_EBB_ORDER: 'An agent of a swarm got an order that it cannot follow.',
  ERR_EBB_SERVER_ENDED: 'A server process of `ebb serve` ended before it listened, or could not be started.',
  ERR_EBB_UNSUPPORTED: 'Connections cannot be made or served here: not Linux, or no koffi binary.',
  ERR_EXPVAR: "A polled address answers with something other than Go's memstats.",
  ERR_HTTP_STATUS: 'A polled address answers with a status other than 200.',
  ERR_INVALID_ARG_VALUE: 'An option or a value on the command line is not allowed.',
  ERR_INVALID_URL: 'The address to poll is not an http or https URL.',
  ERR_NATS: 'NATS cannot be used: unreachable, no permission, or contradictory options.',
  ERR_RECORDING_FORMAT: 'The recording has a format that this version does not read.',
  ERR_RECORDING_INVALID: 'The file is not a recording, or one of its lines cannot be understood.',
  ERR_REPORT_AMBIGUOUS: 'Several controls match one recording.',
  ERR_REPORT_EMPTY: 'There is no recording of a server to report on.',
  ERR_SWARM: 'The swarm cannot run the plan: too few agents, too little room, or an agent refuses.',
  ERR_TLS: 'A TLS handshake failed, and the error has no code of its own.',
  ERR_TOO_LARGE: 'A polled address answers with more than 4 MiB.',
  ERR_TRACE_INVALID: 'A trace has a line that cannot be used, or is too long.',
  ESRCH: 'There is no such process, it does not listen, or a command ended before it listened or was examined.',
  ETIMEDOUT: 'A server did not listen in time, or a polled address did not answer in time.',
  EWORKERLOST: 'A worker process of the client was lost: its connections count as failed or lost with this cause.',
  UNKNOWN: 'The cause has no code.'
} as const

/** A code of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES
