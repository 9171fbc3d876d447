/** How much CPU time clients take that speak HTTP or WebSocket, beside other load generators. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CLI_PATH } from 'ebb-lab/testing'
import { median, whole } from '../harness/figures.mjs'
import { interleave } from '../harness/interleave.mjs'
import { differenceOf, ratioCells, spreadOf, spreadText } from '../harness/paired.mjs'
import { alignColumns } from '../harness/table.mjs'

const WS_CLIENT = fileURLToPath(new URL('programs/ws-client.mjs', import.meta.url))
const AUTOCANNON = fileURLToPath(import.meta.resolve('autocannon'))
/** Connections that send requests. */
const CONNECTIONS = 100
/** Milliseconds of a clock tick in `/proc`. */
const TICK = 10

/**
 * A load generator: its command for `n` requests or handshakes, and how many of them its output tells of.
 *
 * @typedef {object} Generator
 * @property {string} name
 * @property {boolean} node whether it runs on Node
 * @property {(n: number) => string[]} command
 * @property {(output: string, n: number) => number} done
 */

/** @param {string} name */
function has(name) {
  return spawnSync('sh', ['-c', `command -v ${name}`]).status === 0
}

/**
 * Measures requests on kept connections, and WebSocket handshakes.
 *
 * @param {number} port
 * @param {number} n handshakes, and requests of the generators that take a number
 * @param {number} rounds
 */
export async function speaking(port, n, rounds) {
  const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-pulse-'))
  try {
    const requests = await compared(
      `${n} or more HTTP requests on ${CONNECTIONS} connections`,
      requesters(port),
      n,
      rounds
    )
    const handshakes = await compared(`${n} WebSocket handshakes`, shakers(port, folder), n, rounds)
    return [...requests, ...handshakes]
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** @param {number} port @returns {Generator[]} */
function requesters(port) {
  const url = `http://127.0.0.1:${port}/`
  const pulse = ['pulse', url, '--big', `${CONNECTIONS}`, '-i', '1', '--pulses', '0', '--every', '0', '--json']
  return [
    {
      name: 'ebb',
      node: true,
      command: (all) => [process.execPath, CLI_PATH, ...pulse, '-l', all === 1 ? '0' : '3s'],
      done: (output) => JSON.parse(output).traffic.answered
    },
    {
      name: 'autocannon',
      node: true,
      command: (all) => [
        process.execPath,
        AUTOCANNON,
        '-j',
        '-c',
        `${Math.min(all, CONNECTIONS)}`,
        '-a',
        `${all}`,
        url
      ],
      done: (output) => JSON.parse(output)['2xx']
    },
    ...(has('wrk')
      ? [
          {
            name: 'wrk',
            node: false,
            /** @param {number} all */
            command: (all) => [
              'wrk',
              '-t',
              '1',
              '-c',
              `${all === 1 ? 1 : CONNECTIONS}`,
              '-d',
              all === 1 ? '1' : '3',
              url
            ],
            /** @param {string} output */
            done: (output) => Number(/(\d+) requests in/.exec(output)?.[1])
          }
        ]
      : [])
  ]
}

/** @param {number} port @param {string} folder @returns {Generator[]} */
function shakers(port, folder) {
  const url = `ws://127.0.0.1:${port}/`
  const script = join(folder, 'artillery.yaml')
  return [
    {
      name: 'ebb',
      node: true,
      command: (all) => [
        ...[process.execPath, CLI_PATH, 'pulse', url, '--big', `${all}`],
        ...['-i', '1', '--pulses', '0', '-l', '0', '--json']
      ],
      done: (output) => JSON.parse(output).connected
    },
    {
      name: 'ws',
      node: true,
      command: (all) => [process.execPath, WS_CLIENT, url, `${all}`],
      done: (_, all) => all
    },
    ...(has('artillery')
      ? [
          {
            name: 'artillery',
            node: true,
            /** @param {number} all */
            command: (all) => {
              const phase =
                all === 1 ? 'duration: 1\n      arrivalCount: 1' : `duration: 5\n      arrivalRate: ${all / 5}`
              const config = `config:\n  target: "${url}"\n  phases:\n    - ${phase}\n`
              writeFileSync(script, `${config}scenarios:\n  - engine: ws\n    flow:\n      - think: 0.01\n`)
              return ['artillery', 'run', script]
            },
            /** @param {string} output */
            done: (output) => Number(/vusers\.completed:[ .]*(\d+)(?![\s\S]*vusers\.completed)/.exec(output)?.[1])
          }
        ]
      : [])
  ]
}

/**
 * Runs all generators in turn, and prints what each takes. CPU time is that of a run with `n`, without that of a run
 * with 1, which is mostly the start of the program.
 *
 * @param {string} title
 * @param {readonly Generator[]} generators
 * @param {number} n
 * @param {number} rounds
 */
async function compared(title, generators, n, rounds) {
  const results = await interleave(generators, rounds, async ({ command, done }) => {
    const small = await cpuOf(command(1))
    const large = await cpuOf(command(n))
    const count = done(large.output, n)
    return { count, us: ((large.cpu - small.cpu) / count) * 1000 }
  })
  const us = (/** @type {{ us: number }} */ round) => round.us
  const own = results.ebb ?? []
  const lines = generators.map(({ name, node }) => {
    const all = results[name] ?? []
    const spread = spreadOf(all.map(us))
    const difference = differenceOf(all, own, us)
    const { ratio, ratioSpread } = name === 'ebb' ? { ratio: '', ratioSpread: '' } : ratioCells(difference)
    const count = whole(median(all.map((round) => round.count)))
    const each = [`${tenths(spread.median)} us`, spreadText(spread, tenths)]
    return { name, node, ratio: difference.median, cells: [name, count, ...each, ratio, ratioSpread] }
  })
  console.log(`\n${title}, CPU time of the client without its start, medians of ${rounds} rounds:`)
  const headings = ['', 'done', 'CPU each', 'spread', 'ratio to ebb', 'spread']
  console.log(alignColumns([headings, ...lines.map(({ cells }) => cells)], new Set([0])).join('\n'))
  const peers = lines.filter(({ name }) => name !== 'ebb')
  const best = Math.min(...peers.filter(({ node }) => node).map(({ ratio }) => ratio))
  return [
    { figure: `${title}: 3 times as fast as the best Node peer (${best.toFixed(1)})`, kept: best >= 3 },
    ...peers
      .filter(({ node }) => !node)
      .map(({ name, ratio }) => ({
        figure: `${title}: at most 1.5 times the CPU of ${name} (${(1 / ratio).toFixed(2)})`,
        kept: 1 / ratio <= 1.5
      }))
  ]
}

const tenths = (/** @type {number} */ us) => us.toFixed(1)

/** @param {readonly string[]} command */
async function cpuOf([program = '', ...args]) {
  const before = childrenCpu()
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'ignore'] })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve))
  if (code !== 0) throw new Error(`${program} ended with code ${code}: ${args.join(' ')}`)
  return { output, cpu: childrenCpu() - before }
}

/** Returns the CPU time (ms) of all child processes of this one that have ended. */
function childrenCpu() {
  const fields = readFileSync('/proc/self/stat', 'latin1').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[13]) + Number(fields[14])) * TICK
}
