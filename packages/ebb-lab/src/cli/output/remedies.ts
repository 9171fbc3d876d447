/** What to do about connects that failed and connections that were lost, by cause. */
import { type Causes, total } from '../../pulse/causes.js'
import type { TargetResult } from '../../pulse/opened.js'
import { integer } from '../../units/format.js'
import { meaningOf } from './protocol-causes.js'

/** What to do if no connect succeeded, by the most frequent cause. */
const NOTHING_CONNECTED: Record<string, string> = {
  EACCES: 'this user may not connect to it: run as a user who may',
  EADDRNOTAVAIL: 'no local address or port to connect from: check --source',
  ECONNREFUSED: 'no process listens there: start the server first, or check the address',
  ECONNRESET: 'the server closed each connection: check that it is the right server',
  EHOSTUNREACH: 'no route leads there: check the address and the network',
  EINVAL: 'the addresses do not fit together: check --source',
  EMFILE: 'this process has no file descriptor left: raise the limit (ulimit -n)',
  ENETUNREACH: 'no route leads there: check the address and the network',
  ENOENT: 'there is no such socket: start the server first, or check the path',
  ETIMEDOUT: 'it did not answer in time: check the address and the firewall, or raise --timeout'
}

/** What it means if some connects failed, and what to do. */
const SOME_FAILED: Record<string, string> = {
  EADDRNOTAVAIL:
    'the local ports ran out, perhaps because closed connections keep them for a minute (TIME_WAIT): ' +
    'give more addresses with --source, or add --close rst',
  EAGAIN: "the server's accept queue was full (Unix socket): raise its backlog, or lower --rate",
  EAGENTLOST: 'an agent of the swarm was lost: look at its machine and at its connection to NATS',
  ECONNREFUSED: 'the server stopped listening for a time: see whether it ended or restarted',
  ECONNRESET: 'the server accepted and closed at once: look at its limits on connections and descriptors',
  EMFILE: 'the client ran out of descriptors: raise the limit (ulimit -n), or leave --procs out',
  ENFILE: 'the machine ran out of descriptors: raise fs.file-max',
  ENOBUFS: 'the machine had no memory for sockets: ask for fewer connections',
  ENOMEM: 'the machine had no memory for sockets: ask for fewer connections',
  ETIMEDOUT:
    "the server's accept queue was full, or packets were lost: " +
    'raise its backlog and net.core.somaxconn, lower --rate, or raise --timeout',
  EWORKERLOST: "a client process was lost: look for the kernel's out-of-memory killer"
}

/** What it means if connects of a swarm failed for want of something that an agent has, and what to do. */
const AGENTS_LACK: Record<string, string> = {
  EADDRNOTAVAIL:
    'the local ports of an agent ran out, perhaps because closed connections keep them for a minute (TIME_WAIT): ' +
    'add agents, give the agents more addresses (ebb agent --source), or add --close rst',
  EMFILE: 'an agent ran out of descriptors: raise the limit on its machine (ulimit -n), or leave its --procs out',
  ENFILE: 'the machine of an agent ran out of descriptors: raise fs.file-max there',
  ENOBUFS: 'the machine of an agent had no memory for sockets: add agents, or ask for fewer connections',
  ENOMEM: 'the machine of an agent had no memory for sockets: add agents, or ask for fewer connections',
  EWORKERLOST: "a client process of an agent was lost: look for the out-of-memory killer of its machine's kernel"
}

/** What it means if connections were lost while they were held, and what to do. */
const LOST: Record<string, string> = {
  EAGENTLOST: 'an agent of the swarm was lost: look at its machine and at its connection to NATS',
  ECONNRESET: 'the server reset connections that were held: see whether it ended, or closes idle connections',
  EWORKERLOST: "a client process was lost: look for the kernel's out-of-memory killer",
  FIN: 'the server closed connections that were held: look at its idle timeout and its limits'
}

/** What went wrong in a run. */
interface Troubles {
  failed: Causes
  lost: Causes
  unanswered: Causes
  /** Results by server, if there are several. */
  targets?: readonly TargetResult[] | undefined
  /** Report of the agents that connected, if a swarm did. */
  swarm?: object | undefined
}

/**
 * Returns what to do if no connect succeeded.
 *
 * @param isSwarm whether agents connected, which have the options for connecting
 */
export function remedyOfNothing(cause: string, isSwarm = false): string {
  const lack = isSwarm ? AGENTS_LACK[cause] : undefined
  return lack ?? NOTHING_CONNECTED[cause] ?? meaningOf(cause, isSwarm) ?? 'check that the server runs and answers'
}

/** Returns a sentence for each cause of failed connects, lost connections and missing answers that is known. */
export function remedies({ failed, lost, unanswered, targets = [], swarm }: Troubles): string[] {
  const isSwarm = swarm !== undefined
  const dead = targets.filter((target) => target.connected === 0 && total(target.failed) > 0)
  const rest = { ...failed }
  for (const target of dead) {
    for (const [cause, count] of Object.entries(target.failed)) rest[cause] = (rest[cause] ?? 0) - count
  }
  return [
    ...dead.map((target) => {
      const cause = Object.entries(target.failed).sort(([, a], [, b]) => b - a)[0]?.[0] ?? ''
      return `nothing connected to ${target.target} (${cause}): ${remedyOfNothing(cause, isSwarm)}`
    }),
    ...sentences(rest, 'connects failed', isSwarm ? { ...SOME_FAILED, ...AGENTS_LACK } : SOME_FAILED, isSwarm),
    ...sentences(lost, 'connections were lost', isSwarm ? { ...LOST, ...AGENTS_LACK } : LOST, isSwarm),
    ...sentences(unanswered, 'answers were wrong or missing', {}, isSwarm)
  ]
}

function sentences(by: Causes, what: string, known: Record<string, string>, isSwarm: boolean): string[] {
  if (total(by) === 0) return []
  const causes = Object.entries(by).sort(([, a], [, b]) => b - a)
  return causes.flatMap(([cause, count]) => {
    if (count <= 0) return []
    const remedy = known[cause] ?? meaningOf(cause, isSwarm)
    return remedy === undefined ? [] : [`${integer(count)} ${what} with ${cause}: ${remedy}`]
  })
}
