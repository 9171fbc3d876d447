/** What the inside socket of a process with `ebb/auto` says about its releases and its connections. */
import net from 'node:net'
import type { InsideSample } from './sample.js'

/** Time for an answer, ms. */
const WITHIN = 5000

/** The part of an answer that is shown. */
interface Inside {
  governor?: { releases: Record<string, number>; returned: number; longestPause: number }
  servers: { parked: number; awake: number }[]
}

/** Asks a process for the counters of its governor and its servers. Rejects if it does not answer within 5 s. */
export async function askGovernor(pid: number): Promise<InsideSample> {
  const { governor, servers } = await ask(pid)
  const total = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0)
  return {
    released: governor?.returned ?? 0,
    releases: total(Object.values(governor?.releases ?? {})),
    longestPause: governor?.longestPause ?? 0,
    parked: servers.length === 0 ? null : total(servers.map(({ parked }) => parked)),
    awake: servers.length === 0 ? null : total(servers.map(({ awake }) => awake))
  }
}

function ask(pid: number): Promise<Inside> {
  return new Promise((resolve, reject) => {
    const socket = net.connect({ path: `\0ebb-inside-${pid}`, signal: AbortSignal.timeout(WITHIN) })
    let text = ''
    socket.setEncoding('utf8')
    socket.on('data', (part: string) => {
      text += part
    })
    socket.on('error', reject)
    socket.on('end', () => {
      try {
        resolve(JSON.parse(text) as Inside)
      } catch (error) {
        reject(error)
      }
    })
    socket.write('{"ask":"inside","version":1}\n')
  })
}
