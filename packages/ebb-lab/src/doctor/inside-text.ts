/** Says in words what a Node process reports about itself. */
import type { Prediction } from 'ebb/memory'
import { duration, integer, megabytes } from '../units/format.js'
import type { DoneRelease } from './diagnosis.js'
import type { NodeInside } from './inspector/answer.js'

/** Spaces and kinds of handles that are shown. */
const MOST = 6

/** Returns rows about the inside of a process: labels and texts. */
export function insideRows(inside: NodeInside): [label: string, text: string][] {
  const { heap, threads, handles, servers = [], governor, release } = inside
  const total = (of: 'used' | 'physical'): number => heap.spaces.reduce((sum, space) => sum + space[of], 0)
  const spaces = heap.spaces
    .filter(({ physical }) => physical > 0)
    .sort((a, b) => b.physical - a.physical)
    .slice(0, MOST)
    .map(({ name, used, physical }) => `${name} ${megabytes(used)} of ${megabytes(physical)}`)
  const rows: [string, string][] = [
    [
      "V8's heap",
      `${megabytes(total('used'))} used of ${megabytes(total('physical'))}, ${megabytes(heap.code)} of it code: ` +
        spaces.join(', ')
    ],
    [
      'off heap',
      `${megabytes(heap.external)} held by objects, ${megabytes(heap.arrayBuffers)} of it in buffers; ` +
        `${megabytes(heap.mallocedByV8)} of V8's own`
    ]
  ]
  const workers = threads?.workers ? `${integer(threads.workers)} workers; ` : ''
  const kinds = Object.entries(handles)
    .sort(([, a], [, b]) => b - a)
    .slice(0, MOST)
    .map(([kind, count]) => `${integer(count)} ${kind}`)
  if (workers !== '' || kinds.length > 0) rows.push(['handles', `${workers}${kinds.join(', ') || 'none'}`])
  for (const { protocol, address, parked, awake } of servers) {
    rows.push(['server', `${protocol} ${address ?? ''}: ${integer(parked)} parked, ${integer(awake)} awake`])
  }
  if (governor !== undefined) {
    const count = Object.values(governor.releases).reduce((sum, each) => sum + each, 0)
    const releases = `${integer(count)} ${count === 1 ? 'release' : 'releases'}`
    const done = `${releases} returned ${megabytes(governor.returned)}, longest pause ${duration(governor.longestPause)}`
    rows.push(['governor', count === 0 ? 'no release yet' : done])
  }
  if (release !== undefined) rows.push(['a release', predictionText(release)])
  return rows
}

/** Returns what a release would do. */
function predictionText({ expected, stop }: Prediction): string {
  return `would return ${megabytes(expected)} and stop the loop for ${duration(stop)}`
}

/** Returns what a release has done, beside what was predicted. */
export function releaseText({ before, after, returned, stop, predicted }: DoneRelease): string {
  const expectation =
    predicted === null ? '' : `; predicted: ${megabytes(predicted.expected)}, ${duration(predicted.stop)}`
  return (
    `returned ${megabytes(returned)} (${megabytes(before)} to ${megabytes(after)}) and stopped the loop for ` +
    `${duration(stop)}${expectation}`
  )
}
