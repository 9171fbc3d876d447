import { setTimeout as wait } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import type { ServeEvent } from './log.js'
import { Supervisor } from './supervisor.js'
import type { WorkerReport, WorkerSlotEvents } from './worker-slot.js'

/** Longer than the window in which releases become one event. */
const LONG = 400

vi.mock('ebb/memory', async (original) => ({ ...(await original<object>()), release: () => wait(LONG) }))
vi.mock('./worker-slot.js', () => ({ WorkerSlot: FakeSlot }))

const COUNT = { clients: 3, accepted: 3, view: { system: 1, inuse: 1, released: 0, objects: null } }

/** A server that has clients, and releases memory, as soon as it listens. */
const FakeSlot = vi.hoisted(
  () =>
    class {
      readonly #events: WorkerSlotEvents
      readonly pid = 1
      ready = false
      listeningSince: number | undefined
      occupied = true

      constructor(_mode: string, events: WorkerSlotEvents) {
        this.#events = events
      }

      #report(report: WorkerReport): void {
        this.#events.reported(this as never, report)
      }

      start(): void {
        this.ready = true
        this.#report({ report: 'ready' })
      }

      listen(): void {
        this.listeningSince = 1
        this.#report({ report: 'listening' })
        this.#report({ report: 'count', count: COUNT } as WorkerReport)
        this.#report({ report: 'released', released: { before: 2, after: 1, ms: 1, pauseMs: 1 } })
      }

      kill(): void {
        this.occupied = false
        this.#events.ended(this as never, { code: 0, signal: null } as never)
      }
    }
)

test('the servers listen, say the events, before they have clients and release memory', async () => {
  const events: ServeEvent[] = []
  const supervisor = new Supervisor({ port: 0, procs: 2, every: 1, onEvent: (event) => void events.push(event) })
  await supervisor.start()
  expect(events.map(({ event }) => event)).toEqual(['listening', 'cycle', 'release'])
  expect(events[1]).toMatchObject({ clients: 6 })
  expect(events[2]).toMatchObject({ release: 1, before: 4, after: 2 })
  await supervisor.close()
})
