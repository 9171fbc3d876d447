/** What the inside socket of a process with `ebb/auto` says about its releases and its connections. */
import net from 'node:net'
import { closeDescriptor, constants, createSocket, SocketAddress, startConnect, systemError } from 'ebb/sys'
import type { InsideSample } from './sample.js'

/** Time for an answer, ms. */
const WITHIN = 5000
/** An answer is not longer than this. */
const MOST_CHARACTERS = 1_000_000

/** The part of an answer that is shown. Any process may have taken the name of the socket, so nothing is certain. */
interface Inside {
  governor?: { releases?: Record<string, unknown>; returned?: unknown; longestPause?: unknown }
  servers?: { parked?: unknown; awake?: unknown }[]
}

/** Asks a process for the counters of its governor and its servers. Rejects if it does not answer within 5 s. */
export async function askGovernor(pid: number): Promise<InsideSample> {
  const { governor = {}, servers = [] } = JSON.parse(await ask(pid)) as Inside
  return {
    released: total([governor.returned]),
    releases: total(Object.values(governor.releases ?? {})),
    longestPause: total([governor.longestPause]),
    parked: servers.length === 0 ? null : total(servers.map(({ parked }) => parked)),
    awake: servers.length === 0 ? null : total(servers.map(({ awake }) => awake))
  }
}

function total(counts: readonly unknown[]): number {
  return counts.reduce((sum: number, count) => sum + (typeof count === 'number' ? count : 0), 0)
}

function ask(pid: number): Promise<string> {
  // Node pads an abstract name with NULs, which are a part of it.
  const fd = createSocket(constants.AF_UNIX)
  if (fd < 0) throw systemError('socket', -fd)
  const errno = startConnect(fd, new SocketAddress({ path: `\0ebb-inside-${pid}` }))
  if (errno !== 0) {
    closeDescriptor(fd)
    throw systemError('connect', errno)
  }
  return new Promise((resolve, reject) => {
    const socket = new net.Socket({ fd, readable: true, writable: true, signal: AbortSignal.timeout(WITHIN) })
    let text = ''
    socket.setEncoding('utf8')
    socket.on('data', (part: string) => {
      text += part
      if (text.length > MOST_CHARACTERS) socket.destroy(new Error('the answer is too long'))
    })
    socket.on('error', reject)
    socket.on('end', () => resolve(text))
    socket.write('{"ask":"inside","version":1}\n')
  })
}
