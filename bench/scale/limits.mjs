/** Finds out which resource of this machine limits a crowd: descriptors, memory, ports or tables of the kernel. */
import { readFileSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'

/** Descriptors that a process needs besides those of its connections. */
const RESERVED = 64
/** Most processes that `ebb pulse` starts. */
const MOST_PROCESSES = 256
/** Memory of a Node process in bytes. */
const PROCESS = 25e6
/** Memory of both ends of an idle connection in bytes: an estimate for the first size, before one has been measured. */
const CONNECTION = 9000
/** Headroom for the kernel's uneven distribution of connections over servers, in standard deviations. */
const DEVIATIONS = 5

/**
 * Returns how many servers can hold `n` connections. The kernel chooses the server of a connection by a hash, so some
 * servers get more than their share.
 *
 * @param {number} n
 */
export function processesFor(n) {
  const room = descriptorLimit() - RESERVED
  let procs = 1
  while (n / procs + (procs > 1 ? DEVIATIONS * Math.sqrt(n / procs) : 0) > room) procs++
  return procs
}

/**
 * Explains in one sentence why this machine cannot hold `n` connections. Returns undefined if nothing is known that
 * prevents it.
 *
 * @param {number} n
 * @param {number} procs servers, and as many clients
 * @param {number} reserve memory to leave free, bytes
 * @param {number} [each] memory of the machine that a connection took in the last measurement, bytes
 */
export function tooMuch(n, procs, reserve, each = CONNECTION) {
  if (procs > MOST_PROCESSES) {
    return (
      `descriptors: a limit of ${descriptorLimit()} per process needs ${procs} processes on each side, ` +
      `and at most ${MOST_PROCESSES} are possible: raise ulimit -n`
    )
  }
  const [open = 0, , most = 0] = numbers('/proc/sys/fs/file-nr')
  if (open + 2 * n > most) {
    return `descriptors of the machine: ${open} are open, ${2 * n} more exceed fs.file-max, ${most}`
  }
  const need = n * each + 2 * procs * PROCESS
  const free = available()
  if (free - need < reserve) {
    const [needed, left, kept] = [need, free, reserve].map(gigabytes)
    return `memory: ${needed} are needed, ${left} are free, and ${kept} must stay free`
  }
  const [tracked = 0] = numbers('/proc/sys/net/netfilter/nf_conntrack_count')
  const [trackable = 0] = numbers('/proc/sys/net/netfilter/nf_conntrack_max')
  // Without a firewall rule that asks for tracking, the count stays 0 and the limit does not matter.
  if (tracked > 0 && tracked + n > trackable) {
    return `connection tracking: ${tracked} are tracked, ${n} more exceed nf_conntrack_max, ${trackable}`
  }
  return undefined
}

/** @type {Readonly<Record<string, string>>} */
const CAUSES = {
  EMFILE: 'descriptors: a process reached its limit (ulimit -n)',
  ENFILE: 'descriptors of the machine: the limit was reached (fs.file-max)',
  EADDRNOTAVAIL: 'ports: no local port was free (net.ipv4.ip_local_port_range)',
  ENOMEM: 'memory: the kernel had none for a socket',
  ENOBUFS: 'memory: the kernel had none for a socket',
  ETIMEDOUT:
    'time: connects were not answered (net.core.somaxconn, net.ipv4.tcp_max_syn_backlog, or a machine too slow)',
  EWORKERLOST: 'a process that connected was killed, perhaps by the kernel for lack of memory'
}

/**
 * Explains why connects failed, by the most frequent cause.
 *
 * @param {Readonly<Record<string, number>>} failed number of failed connects by cause
 */
export function causeOf(failed) {
  const [cause = 'unknown', count = 0] = Object.entries(failed).sort(([, a], [, b]) => b - a)[0] ?? []
  return `${CAUSES[cause] ?? cause}; ${count} connects failed for this reason`
}

/** Returns the memory in bytes that programs can get without swapping. */
export function available() {
  return meminfo('MemAvailable')
}

/**
 * Returns a line of `/proc/meminfo` in bytes.
 *
 * @param {'MemAvailable' | 'Slab'} name
 */
export function meminfo(name) {
  const [, kB] = new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/meminfo', 'latin1')) ?? []
  if (kB === undefined) throw new Error(`/proc/meminfo has no line ${name}`)
  return Number(kB) * 1024
}

/** @param {number} bytes */
export function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/**
 * Returns the numbers in a file of `/proc`, or none if there is no such file.
 *
 * @param {string} path
 */
function numbers(path) {
  try {
    return readFileSync(path, 'latin1').trim().split(/\s+/).map(Number)
  } catch {
    return []
  }
}
