/**
 * Checks, at the end of every test, that what ebb keeps is consistent: see `audit()` of `ebb/testing`. A setup file of
 * Vitest.
 */
import { audit, trackCreated } from 'ebb/testing'
import { beforeEach } from 'vitest'

trackCreated()

/** Time (ms) for what a test has left in progress, such as a socket that is being closed. */
const PATIENCE = 5000

beforeEach(({ onTestFinished }) => {
  // Registered first, so that it runs after all else that a test does at its end.
  onTestFinished(async () => {
    const end = performance.now() + PATIENCE
    let wrong = audit()
    while (wrong.length > 0 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 5))
      wrong = audit()
    }
    if (wrong.length > 0) throw new Error(`ebb's state is not consistent:\n${wrong.join('\n')}`)
  })
})
