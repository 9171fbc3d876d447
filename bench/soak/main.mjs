/** `npm run bench:soak`: {@link ABOUT}. */
import { setTimeout as wait } from 'node:timers/promises'
import { Child } from '../harness/child.mjs'
import { count, readCommandLine } from '../harness/command-line.mjs'
import { conclude } from '../harness/conclude.mjs'
import { Clients, STEPS } from './clients.mjs'

/** @import { SoakOrders } from './server.mjs' */

const ABOUT = `Runs the servers of the library under changing load for a long time: crowds, storms, resets, streams and
  broadcasts, sockets that others take over, timeouts, shutdowns. At the end, the memory, the descriptors, the rows
  and the timers of the process have to be back at those of the start.`

/** Memory may grow by this factor, and by this many bytes, because V8's and malloc's heaps are never quite the same. */
const GROWTH = { factor: 1.1, bytes: 3e6 }
/** Rounds before the start is measured, in which V8 compiles and tables grow. */
const WARM_UP = 2

const { minutes, clients: crowd } = readCommandLine({
  script: 'bench:soak',
  about: ABOUT,
  options: {
    minutes: count('--minutes', 'N', 'Duration, without the warm-up. Default: 20.', 20),
    clients: count('--clients', 'N', 'Clients of a crowd. Default: 3000.', 3000)
  },
  exit: 'Exit codes: 0; 1 if a figure is not back, or if something was wrong at a check.'
})

/** @type {Child<SoakOrders>} */
const server = await Child.start(new URL('server.mjs', import.meta.url), { execArgv: ['--no-warnings'] })
const clients = new Clients()
let ports = await server.ask('ports')
/** @type {Record<string, number>} */
const steps = {}
/** @type {string[]} */
const wrong = []

/** Takes a round: each step once, in random order, with the clients of earlier steps still connected. */
async function round() {
  const names = Object.keys(STEPS).sort(() => Math.random() - 0.5)
  for (const name of names) {
    await STEPS[name]?.(clients, ports, Math.ceil(crowd * (0.3 + 0.7 * Math.random())))
    await server.ask('broadcast')
    steps[name] = (steps[name] ?? 0) + 1
    if (Math.random() < 0.5) await clients.close()
  }
  ports = await server.ask('renew', Math.random() < 0.5 ? 0 : 500)
}

/** Closes all clients, and returns the figures once the server has no connection. */
async function rest() {
  await clients.close()
  await server.until('open', (open) => open === 0)
  await wait(1000)
  const all = []
  // Now and then V8 holds a few MB more for a moment.
  for (let i = 0; i < 5; i++) {
    const { wrong: problems, failures, ...figures } = await server.ask('figures')
    wrong.push(...problems, ...failures)
    all.push(figures)
    await wait(200)
  }
  const least = Math.min(...all.map(({ anonymous }) => anonymous))
  const figures = /** @type {typeof all[0]} */ (all.find(({ anonymous }) => anonymous === least))
  return figures
}

for (let i = 0; i < WARM_UP; i++) await round()
const start = await rest()
const end = performance.now() + minutes * 60_000
let rounds = 0
let last = start
console.log(`start: ${JSON.stringify(start)}`)
while (performance.now() < end && wrong.length === 0) {
  await round()
  rounds++
  last = await rest()
  console.log(`round ${rounds}: ${JSON.stringify(last)}`)
}
await server.end()

const limit = Math.max(start.anonymous * GROWTH.factor, start.anonymous + GROWTH.bytes)
const limits = [
  { figure: 'memory', kept: last.anonymous <= limit },
  { figure: 'descriptors', kept: last.descriptors === start.descriptors },
  { figure: 'rows', kept: last.rows === 0 },
  { figure: 'timers', kept: last.timers <= start.timers },
  { figure: 'checks of state', kept: wrong.length === 0 }
]
for (const name of /** @type {const} */ (['anonymous', 'descriptors', 'rows', 'timers'])) {
  console.log(`${name}: ${start[name]} -> ${last[name]}`)
}
for (const problem of wrong) console.error(problem)
conclude(
  `${rounds} rounds, ${last.accepted - start.accepted} connections, ${last.ended - start.ended} servers shut down; ` +
    `steps: ${JSON.stringify(steps)}.`,
  limits
)
if (limits.some(({ kept }) => !kept)) process.exitCode = 1
