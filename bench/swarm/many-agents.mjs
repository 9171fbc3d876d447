/** Part two: as many agents as asked for, without sockets, in two processes. Their connects succeed at once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Coordinator, NatsBus, pulse } from 'ebb-lab/testing'

/** @import { ChildProcess } from 'node:child_process' */
/** @import { Readable } from 'node:stream' */
/** @import { Checked } from '../harness/conclude.mjs' */

const AGENTS = fileURLToPath(new URL('agents.mjs', import.meta.url))
/** Milliseconds from the order of a pulse to the start of the last agent. */
const LONGEST_START = 1000

/**
 * Prints for each pulse the time from the order to the start that the coordinator sets, and resolves with the limits.
 *
 * @param {number} agents
 * @param {number} runs
 * @param {number} connections
 * @returns {Promise<Checked[]>}
 */
export async function manyAgents(agents, runs, connections) {
  const nats = spawn('nats-server', ['-a', '127.0.0.1', '-p', '-1'], { stdio: ['ignore', 'ignore', 'pipe'] })
  /** @type {ChildProcess[]} */
  const processes = [nats]
  try {
    const failed = once(nats, 'error').then(([error]) => {
      throw new Error(`nats-server cannot be started: ${error.message}`)
    })
    const url = `nats://127.0.0.1:${await Promise.race([said(nats.stderr, /connections on \S+:(\d+)/), failed])}`
    const half = Math.ceil(agents / 2)
    const children = [half, agents - half].map((n) =>
      spawn(process.execPath, [AGENTS, url, String(n)], { stdio: ['ignore', 'pipe', 'inherit'] })
    )
    processes.push(...children)
    await Promise.all(children.map((child) => said(child.stdout, /(ready)/)))
    const bus = await NatsBus.connect({ url })
    const before = performance.now()
    const coordinator = await Coordinator.gather({ bus, swarm: 'thousand', agents })
    console.log(`${agents} agents gathered in ${Math.round(performance.now() - before)} ms`)
    const { longest, report } = await measureStarts(coordinator, runs, connections)
    await coordinator.end()
    await bus.close()
    if (report.swarm === undefined) throw new Error('the report has no swarm')
    const { spread, error, degraded } = report.swarm
    console.log(`started within ${(spread ?? 0).toFixed(1)} ms (± ${(error ?? 0).toFixed(1)} ms)`)
    const lastStart = longest + (spread ?? Number.NaN)
    return [
      {
        figure: `${agents} agents: ${Math.round(lastStart)} ms from order to the last start`,
        kept: lastStart <= LONGEST_START
      },
      { figure: `${agents} agents: none was lost`, kept: !degraded }
    ]
  } finally {
    for (const child of processes) await kill(child)
  }
}

/**
 * Runs the pulses. `longest` is the longest time in ms from the order of a pulse to the start that it names.
 *
 * @param {Coordinator} coordinator
 * @param {number} runs
 * @param {number} connections
 */
async function measureStarts(coordinator, runs, connections) {
  const soon = coordinator.soon.bind(coordinator)
  let start = 0
  coordinator.soon = () => {
    start = soon()
    return start
  }
  let ordered = 0
  let longest = 0
  const plan = {
    big: connections,
    iterations: runs,
    bigSeparation: 0,
    linger: 0,
    small: 0
  }
  const report = await pulse({ host: '127.0.0.1', port: 9 }, plan, {
    swarm: coordinator,
    onEvent: ({ event, pulse: { index } }) => {
      if (event === 'pulse') ordered = performance.now()
      if (event !== 'connected') return
      const [untilStart, untilAnswered] = [start - ordered, performance.now() - ordered]
      console.log(
        `pulse ${index + 1}: ${Math.round(untilStart)} ms from order to start, ` +
          `${Math.round(untilAnswered)} ms until all had answered`
      )
      longest = Math.max(longest, untilStart)
    }
  })
  return { longest, report }
}

/** @param {ChildProcess} child */
async function kill(child) {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill('SIGKILL')
  await exit
}

/**
 * Reads a stream until a line matches, and resolves with the first group of the match.
 *
 * @param {Readable} stream
 * @param {RegExp} pattern
 */
async function said(stream, pattern) {
  for await (const line of createInterface(stream)) {
    const [, match] = pattern.exec(line) ?? []
    if (match !== undefined) {
      // What the process says from now on is discarded.
      stream.resume()
      return match
    }
  }
  throw new Error(`a process ended before it printed ${pattern}`)
}
