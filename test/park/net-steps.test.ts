/** 100,000 random steps of many connections, in ten parts. Every byte is accounted for. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { ACTIONS, type Action, Crowd } from '../support/net-model.js'
import { descriptorsReturn } from '../support/net-parity.js'
import { descriptors } from '../support/sockets.js'

descriptorsReturn()

/** Each part is a test of its own, because a time limit applies to one test. */
const PARTS = Array.from({ length: 10 }, (_, i) => i + 1)
const RUNS = 5
const STEPS = 2000
/** Parking takes long, so it happens once in this many steps. */
const SLEEPS = 400

const wheel = Object.entries(ACTIONS).flatMap(([action, share]) => Array<Action>(share).fill(action as Action))

function decode(number: number): [Action, number] {
  if (number % SLEEPS === 0) return ['sleep', 0]
  const rest = Math.floor(number / SLEEPS)
  return [wheel[rest % wheel.length] as Action, Math.floor(rest / wheel.length)]
}

class Steps {
  readonly numbers: number[]

  constructor(numbers: number[]) {
    this.numbers = numbers
  }

  /** A list of 2000 numbers is not readable, so it is shortened. */
  [fc.toStringMethod](): string {
    const steps = this.numbers.slice(0, 20).map((number) => decode(number).join(' '))
    return `${this.numbers.length} steps: ${steps.join(', ')}, ...`
  }
}

test.each(PARTS)(
  'connect, send, park, wake, broadcast, end, break: no byte is lost or out of order, part %i',
  async () => {
    const number = fc.noBias(fc.nat(2 ** 31 - 1))
    const steps = fc.array(number, { minLength: STEPS, maxLength: STEPS }).map((numbers) => new Steps(numbers))
    let taken = 0
    const before = descriptors()
    await fc.assert(
      fc.asyncProperty(steps, async ({ numbers }) => {
        const crowd = new Crowd()
        await crowd.start()
        for (const number of numbers) await crowd.step(...decode(number))
        await crowd.finish()
        taken += numbers.length
        expect(descriptors()).toBeLessThanOrEqual(before + 2)
      }),
      // A failure after 10,000 steps does not repeat in fewer, so shrinking is useless.
      { numRuns: RUNS, endOnFailure: true }
    )
    expect(taken).toBe(RUNS * STEPS)
  }
)
