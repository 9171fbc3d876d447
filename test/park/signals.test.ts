/** No call from JavaScript ends the process with a signal, whatever it is given. */

import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const PROGRAM = fileURLToPath(new URL('../support/random-calls.mjs', import.meta.url))
/** Calls per process. */
const CALLS = 400

test.each([1, 2, 3, 4, 5, 6])('random calls, seed %i: errors, and no signal', async (seed) => {
  const { code, signal, stderr, stdout } = await new Promise<Record<string, unknown>>((resolve) => {
    execFile(process.execPath, [PROGRAM, String(seed), String(CALLS)], (error, out, err) => {
      resolve({ code: error?.code ?? 0, signal: error?.signal ?? null, stdout: out, stderr: err })
    })
  })
  expect({ code, signal }, `${stderr}`).toEqual({ code: 0, signal: null })
  // The calls reached what they were meant for.
  expect(JSON.parse(`${stdout}`)).toMatchObject({ ERR_INVALID_ARG_VALUE: expect.any(Number) })
})
