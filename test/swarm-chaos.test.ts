/**
 * Kills agents, coordinators and NATS at random moments. After each round no connection and no process is left, and the
 * coordinator has printed a report or an error.
 */
import { setTimeout as wait } from 'node:timers/promises'
import { randomFrom } from 'ebb-lab/testing'
import { expect, test } from 'vitest'
import { type Cli, ebb, type Server, server } from './support/cli.js'
import { Nats, noNats } from './support/nats.js'
import { alive, descendants } from './support/processes.js'
import { until } from './support/sockets.js'

const ROUNDS = 50
/** Number of rounds in parallel, each with its own NATS server, server and agents. */
const LANES = 10
const AGENTS = 3
const PLAN = ['--big', '600', '-i', '2', '-bs', '100ms', '--pulses', '0', '-l', '500ms']
/** Duration of a round without kills, in ms. */
const ROUND = 2500
/** Maximum time in ms until a killed NATS server is started again. It may be shorter or longer than a lease. */
const AWAY = 4500
/** Allows 192 connections per process, so that an agent needs two processes. */
const FEW = 'ulimit -n 256'

type Victim = 'agent' | 'coordinator' | 'NATS'

class Lane {
  readonly #nats: Nats
  readonly #held: Server
  readonly #shell: string
  readonly #agents: Cli[] = []

  constructor(nats: Nats, held: Server, shell: string) {
    this.#nats = nats
    this.#held = held
    this.#shell = shell
  }

  async round(seed: number): Promise<Victim[]> {
    const random = randomFrom(seed)
    const pick = (n: number): number => Math.floor(random() * n)
    while (this.#agents.length < AGENTS) this.#agents.push(await this.#agent())
    const args = ['--swarm', 'lab', '--nats', this.#nats.url, '--agents', `${AGENTS}`, '--timeout', '2s']
    const pulsing = ebb(['pulse', `${this.#held.port}`, ...args, ...PLAN])
    const victims: Victim[] = []
    const workers = new Set<number>()
    for (let kills = 1 + pick(2); kills > 0; kills--) {
      await wait(random() * ROUND)
      for (const agent of this.#agents) for (const pid of descendants(agent.pid)) workers.add(pid)
      const victim = (['agent', 'coordinator', 'NATS'] as const)[pick(3)] as Victim
      victims.push(victim)
      if (victim === 'agent') await this.#agents.splice(pick(this.#agents.length), 1)[0]?.end('SIGKILL')
      else if (victim === 'coordinator') pulsing.kill('SIGKILL')
      else {
        await this.#nats.kill()
        await wait(random() * AWAY)
        await this.#nats.startAgain()
      }
    }
    const { code, signal, stdout, stderr } = await pulsing.ended
    const what = `seed ${seed}, killed ${victims}: ${code} ${signal}\n${stdout}\n${stderr}`
    expect(stderr, what).not.toMatch(/^\s+at /m)
    if (signal === null) {
      const report = /^connected +\d+$/m.test(stdout)
      const sentence = /^ebb: .+$/m.test(stderr)
      expect(report || sentence, what).toBe(true)
      // A kill before the start or after the end has no effect.
      expect(report ? [0, 2, 4] : [1], what).toContain(code)
    } else expect(victims, what).toContain('coordinator')
    await until(() => this.#held.clients() === 0)
    for (const agent of this.#agents) {
      await until(
        () =>
          agent.stderr
            .split('\n')
            .findLast((line) => /^(Free|Taken|Agent)/.test(line))
            ?.startsWith('Taken') !== true
      )
      for (const pid of descendants(agent.pid)) workers.add(pid)
    }
    await until(() => ![...workers].some(alive))
    return victims
  }

  async #agent(): Promise<Cli> {
    const cli = ebb(['agent', '--swarm', 'lab', '--nats', this.#nats.url, '--procs', '8'], { shell: this.#shell })
    await cli.said(/^Agent /m)
    return cli
  }
}

test.skipIf(noNats !== undefined)(`kill -9 at random moments, ${ROUNDS} rounds`, { timeout: 900_000 }, async () => {
  const killed: Record<Victim, number> = { agent: 0, coordinator: 0, NATS: 0 }
  await Promise.all(
    Array.from({ length: LANES }, async (_, index) => {
      const lane = new Lane(await Nats.start(), await server(), index % 2 === 0 ? FEW : 'true')
      for (let round = 0; round < ROUNDS / LANES; round++) {
        for (const victim of await lane.round(index * 1000 + round)) killed[victim]++
      }
    })
  )
  expect(Math.min(...Object.values(killed))).toBeGreaterThan(0)
})
