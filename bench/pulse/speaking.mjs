/** How much CPU time clients take that speak HTTP or WebSocket, beside other load generators. */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { CLI_PATH } from 'ebb-lab/testing'
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
 */
export async function speaking(port, n) {
  const folder = mkdtempSync(join(tmpdir(), 'ebb-bench-pulse-'))
  try {
    const requests = await compared(`${n} or more HTTP requests on ${CONNECTIONS} connections`, requesters(port), n)
    const handshakes = await compared(`${n} WebSocket handshakes`, shakers(port, folder), n)
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
 * Runs all generators, and prints what each takes. CPU time is that of a run with `n`, without that of a run with 1,
 * which is mostly the start of the program.
 *
 * @param {string} title
 * @param {readonly Generator[]} generators
 * @param {number} n
 */
async function compared(title, generators, n) {
  const results = []
  for (const { name, node, command, done } of generators) {
    const small = await cpuOf(command(1))
    const large = await cpuOf(command(n))
    const count = done(large.output, n)
    results.push({ name, node, count, us: ((large.cpu - small.cpu) / count) * 1000 })
  }
  const rows = results.map(({ name, count, us }) => [
    name,
    `${count}`,
    `${us.toFixed(1)} us`,
    `${Math.round(1e6 / us)}`
  ])
  console.log(`\n${title}, CPU time of the client without its start:`)
  console.log(alignColumns([['', 'done', 'CPU each', 'per CPU s'], ...rows], new Set([0])).join('\n'))
  const own = /** @type {(typeof results)[number]} */ (results[0])
  const peers = results.slice(1)
  const best = Math.min(...peers.filter(({ node }) => node).map(({ us }) => us))
  const native = peers.filter(({ node }) => !node)
  return [
    {
      figure: `${title}: 3 times as fast as the best Node peer (${(best / own.us).toFixed(1)})`,
      kept: best / own.us >= 3
    },
    ...native.map(({ name, us }) => ({
      figure: `${title}: at most 1.5 times the CPU of ${name} (${(own.us / us).toFixed(2)})`,
      kept: own.us / us <= 1.5
    }))
  ]
}

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
