/** Advice about sockets, descriptors, limits and the trend. */
import { megabytes } from '../../units/format.js'
import type { Advice } from '../diagnosis.js'
import { isWorth, onBytes, onCount, type Rule } from './advice.js'

const TCP = 'https://man7.org/linux/man-pages/man7/tcp.7.html'

/** Connections in CLOSE_WAIT that may be the ones that are being closed at this moment. */
const FEW_CLOSING = 5

const leaked: Rule = ({ descriptors, runtime }) => {
  const count = descriptors?.sockets.count['tcp CLOSE_WAIT'] ?? 0
  if (count <= FEW_CLOSING) return undefined
  return onCount('close-wait', 'descriptors.sockets.count["tcp CLOSE_WAIT"]', count, {
    text:
      runtime.name === 'node'
        ? "Call socket.end() on 'end' (allowHalfOpen), read each socket to its end, and destroy() it on errors."
        : 'Close a connection when a read returns 0 (the end of the stream), and on every error.',
    reason: 'connections are in CLOSE_WAIT: the peer has closed them, and the program has not. That is a leak',
    source: TCP
  })
}

/** Bytes in socket buffers that are worth advice: they are outside of the process's own memory. */
const WORTH_QUEUED = 1e6

const unread: Rule = ({ descriptors }) => {
  const { unread: bytes = 0, withUnread = 0 } = descriptors?.sockets ?? {}
  if (bytes < WORTH_QUEUED) return undefined
  return onBytes('unread', 'descriptors.sockets.unread', bytes, {
    text: 'Read the sockets, or close them. A smaller SO_RCVBUF or net.ipv4.tcp_rmem bounds what waits in each.',
    reason: `wait unread in ${withUnread} sockets: memory of the kernel, which no figure of the process shows`,
    source: TCP
  })
}

const unsent: Rule = ({ descriptors }) => {
  const { unsent: bytes = 0, withUnsent = 0 } = descriptors?.sockets ?? {}
  if (bytes < WORTH_QUEUED) return undefined
  return onBytes('unsent', 'descriptors.sockets.unsent', bytes, {
    text: 'Stop writing when write() returns false, until drain; close clients that do not read.',
    reason: `wait unsent in ${withUnsent} sockets: their peers read slower than the program writes`,
    source: TCP
  })
}

/** Share of a limit above which it is near. */
const NEAR = 0.8

const descriptorLimit: Rule = ({ descriptors }) => {
  const { open = 0, limit = null } = descriptors ?? {}
  if (limit === null || open < limit * NEAR) return undefined
  return onCount('descriptors', 'descriptors.open', open, {
    text: 'Raise the limit (ulimit -n, LimitNOFILE= of systemd), or close what is not needed.',
    reason: `descriptors of ${limit} are open: beyond, every accept and open fails with EMFILE`,
    source: 'https://man7.org/linux/man-pages/man2/getrlimit.2.html'
  })
}

const cgroupLimit: Rule = ({ cgroup }) => {
  if (cgroup === null || cgroup.used === null || cgroup.limit === null) return undefined
  const bytes = cgroup.used - cgroup.cache
  if (bytes < cgroup.limit * NEAR) return undefined
  return onBytes('cgroup-limit', 'cgroup.used', bytes, {
    text: 'Raise the limit of the container, or return memory before it is reached: the advice above says how.',
    reason: `of ${megabytes(cgroup.limit)} are used in its cgroup: at the limit the kernel kills a process`,
    source: 'https://docs.kernel.org/admin-guide/cgroup-v2.html'
  })
}

const swapped: Rule = (found) => {
  const { swapped: bytes } = found.memory
  if (!isWorth(bytes, found)) return undefined
  return onBytes('swapped', 'memory.swapped', bytes, {
    text: 'Count it as held: it comes back into memory, slowly, when it is used.',
    reason: 'are in swap and missing from the resident memory',
    source: 'https://man7.org/linux/man-pages/man5/proc_pid_status.5.html'
  })
}

/** Growth per minute that is worth advice, bytes, and the share of a watched period in which it must go on. */
const WORTH_GROWTH = 1e6
const STEADY = 0.9
/** A process that has grown by less while it was watched may not grow at all, bytes: the noise of verdicts. */
const NOISE = 500_000

/** How to see what grows. */
const SEE_GROWTH: Partial<Record<string, string>> = {
  node: 'compare two heap snapshots (node --heapsnapshot-signal=SIGUSR2)',
  go: 'compare two heap profiles (go tool pprof -diff_base)',
  java: 'compare two class histograms (jcmd PID GC.class_histogram)',
  python: 'compare two snapshots of tracemalloc',
  ruby: 'compare two dumps of ObjectSpace.dump_all',
  dotnet: 'compare two dumps (dotnet-gcdump collect)'
}

const growth: Rule = ({ trend, runtime }): Advice | undefined => {
  if (trend === null || trend.perMinute < WORTH_GROWTH || trend.to - trend.from < NOISE) return undefined
  // Memory that rises and falls has grown at its end by less than between its extremes.
  const spread = trend.highest - trend.lowest
  if (trend.to - trend.from < spread * STEADY) return undefined
  const how = SEE_GROWTH[runtime.name] ?? 'compare two heap profiles (heaptrack, jemalloc, valgrind --tool=massif)'
  return {
    code: 'growth',
    text: `Watch longer (--for 5m). If it still grows, ${how}.`,
    reason: `${megabytes(trend.perMinute)} a minute is the growth of anonymous memory`,
    figure: { name: 'trend.perMinute', value: trend.perMinute, unit: 'bytes per minute' },
    source: 'https://nodejs.org/en/learn/diagnostics/memory'
  }
}

export const KERNEL_RULES: readonly Rule[] = [leaked, unread, unsent, descriptorLimit, cgroupLimit, swapped, growth]
