/**
 * Random steps of many connections. Every byte is accounted for, and nothing is left at the end.
 *
 * `EBB_STEPS` is the number of steps, three quarters of them on TCP connections, the others on HTTP:
 * `EBB_STEPS=100000 npx vitest run test/park/net-steps.test.ts`.
 */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ACTIONS, type Action, Crowd } from '../support/net-model.js'
import { descriptorsReturn } from '../support/net-parity.js'
import { descriptors } from '../support/sockets.js'
import { WEB_ACTIONS, Web, type WebAction } from '../support/web-model.js'

descriptorsReturn()

const { EBB_STEPS = '20000' } = process.env
/** Steps of one crowd. */
const STEPS = 1000
/** Crowds of a part. Each part is a test of its own, because a time limit applies to one test. */
const RUNS = 5
/** Parking takes long, so it happens once in this many steps. */
const SLEEPS = 400

const parts = Math.ceil(Number(EBB_STEPS) / STEPS / RUNS)
const webParts = Math.ceil(parts / 4)

function numbered(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1)
}

/** Returns each action as often as its share. */
function wheelOf<A extends string>(shares: Record<A, number>): A[] {
  return (Object.keys(shares) as A[]).flatMap((action) => Array<A>(shares[action]).fill(action))
}

class Steps<A extends string> {
  readonly actions: [A | 'sleep', number][]

  constructor(numbers: number[], wheel: A[]) {
    this.actions = numbers.map((number) => {
      if (number % SLEEPS === 0) return ['sleep', 0]
      const rest = Math.floor(number / SLEEPS)
      return [wheel[rest % wheel.length] as A, Math.floor(rest / wheel.length)]
    })
  }

  /** A list of a thousand actions is not readable, so it is shortened. */
  [fc.toStringMethod](): string {
    const steps = this.actions.slice(0, 20).map((step) => step.join(' '))
    return `${this.actions.length} steps: ${steps.join(', ')}, ...`
  }
}

interface Model<A> {
  start(): Promise<void>
  step(action: A, number: number): Promise<void>
  finish(): Promise<void>
}

async function play<A extends string>(wheel: A[], make: () => Model<A | 'sleep'>): Promise<void> {
  const number = fc.noBias(fc.nat(2 ** 31 - 1))
  const steps = fc.array(number, { minLength: STEPS, maxLength: STEPS }).map((numbers) => new Steps(numbers, wheel))
  let taken = 0
  const before = descriptors()
  await fc.assert(
    fc.asyncProperty(steps, async ({ actions }) => {
      const model = make()
      await model.start()
      for (const [action, number] of actions) await model.step(action, number)
      await model.finish()
      taken += actions.length
      expect(descriptors()).toBeLessThanOrEqual(before + 2)
    }),
    // A failure after thousands of steps does not repeat in fewer, so shrinking is useless. The error names the seed.
    { numRuns: RUNS, endOnFailure: true }
  )
  expect(taken).toBe(RUNS * STEPS)
}

test.each(numbered(parts - webParts))(
  'TCP: connect, send, park, wake, broadcast, take, time out, end, break: no byte is lost or out of order, part %i',
  async () => {
    await play<keyof typeof ACTIONS>(wheelOf(ACTIONS), () => new Crowd() satisfies Model<Action>)
  }
)

test.each(numbered(webParts))(
  'HTTP: connect, request, stream, send, broadcast, upgrade, end, break: no response or event is lost, part %i',
  async () => {
    await play<keyof typeof WEB_ACTIONS>(wheelOf(WEB_ACTIONS), () => new Web() satisfies Model<WebAction>)
  }
)
