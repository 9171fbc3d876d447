/** What of this machine ends a crowd: descriptors, memory, ports, tables of the kernel. */
import { readFileSync } from 'node:fs'
import { descriptorLimit } from 'ebb/sys'

/** Descriptors that a process needs for itself. */
const RESERVED = 64
/** `ebb pulse` starts no more processes than this. */
const MOST_PROCESSES = 256
/** What a Node process takes, and what two ends of an idle connection take before it was measured, bytes. */
const PROCESS = 25e6
const CONNECTION = 9000

/**
 * How many servers hold `n` connections. The kernel shares them out by a hash: some get more than their share, five standard
 * deviations at most.
 */
export function processesFor(n) {
  const room = descriptorLimit() - RESERVED
  let procs = 1
  while (n / procs + (procs > 1 ? 5 * Math.sqrt(n / procs) : 0) > room) procs++
  return procs
}

/**
 * Why `n` connections between `procs` servers and as many clients cannot be; undefined: nothing is known that would stop them.
 *
 * `reserve`: memory to leave free, bytes; `each`: what a connection took of the machine when it was last measured, bytes.
 */
export function tooMuch(n, procs, reserve, each = CONNECTION) {
  if (procs > MOST_PROCESSES) {
    return `descriptors: ${descriptorLimit()} a process make ${procs} processes on each side, ${MOST_PROCESSES} at most: raise ulimit -n`
  }
  const [open = 0, , most = 0] = numbers('/proc/sys/fs/file-nr')
  if (open + 2 * n > most) {
    return `descriptors of the machine: ${2 * n} more than the ${open} that are open are above fs.file-max, ${most}`
  }
  const need = n * each + 2 * procs * PROCESS
  const free = available()
  if (free - need < reserve) {
    return `memory: it would take ${gigabytes(need)}, of ${gigabytes(free)} that are free ${gigabytes(reserve)} are to stay so`
  }
  const [tracked = 0] = numbers('/proc/sys/net/netfilter/nf_conntrack_count')
  const [trackable = 0] = numbers('/proc/sys/net/netfilter/nf_conntrack_max')
  // Connections are tracked where a rule asks for it: then some are, always.
  if (tracked > 0 && tracked + n > trackable) {
    return `connection tracking: ${n} more than the ${tracked} that are tracked are above nf_conntrack_max, ${trackable}`
  }
  return undefined
}

const CAUSES = {
  EMFILE: 'descriptors: a process had none left (ulimit -n)',
  ENFILE: 'descriptors of the machine: none were left (fs.file-max)',
  EADDRNOTAVAIL: 'ports: none were left (net.ipv4.ip_local_port_range)',
  ENOMEM: 'memory: the kernel had none for a socket',
  ENOBUFS: 'memory: the kernel had none for a socket',
  ETIMEDOUT:
    'time: connects were not answered (net.core.somaxconn, net.ipv4.tcp_max_syn_backlog, or a machine too slow)',
  EWORKERLOST: 'a process that connected was killed, perhaps for want of memory'
}

/** What made connects fail, by the most frequent of the causes that were counted. */
export function causeOf(failed) {
  const [[cause, count]] = Object.entries(failed).sort(([, a], [, b]) => b - a)
  return `${CAUSES[cause] ?? cause}; ${count} failed of it`
}

/** Memory that can be had without swapping, bytes. */
export function available() {
  return meminfo().MemAvailable
}

/** `/proc/meminfo`, bytes. */
export function meminfo() {
  const lines = readFileSync('/proc/meminfo', 'latin1').matchAll(/^(\w+):\s+(\d+) kB/gm)
  return Object.fromEntries([...lines].map(([, name, kB]) => [name, Number(kB) * 1024]))
}

export function gigabytes(bytes) {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/** The numbers in a file of `/proc`; none where there is no such file. */
function numbers(path) {
  try {
    return readFileSync(path, 'latin1').trim().split(/\s+/).map(Number)
  } catch {
    return []
  }
}
