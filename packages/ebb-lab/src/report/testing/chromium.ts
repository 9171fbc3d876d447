/** Starts Chromium for tests. Tests that need it are skipped if it is not installed. */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'
import { afterAll, beforeAll } from 'vitest'

const PATH = '/usr/bin/chromium'

/** Whether Chromium is installed. */
export const hasChromium = existsSync(PATH)

/** Starts Chromium without a window. */
export async function launchChromium(): Promise<Browser> {
  return await chromium.launch({
    executablePath: PATH,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--no-first-run'
    ]
  })
}

/** Starts Chromium for the tests of a `describe()`, and ends it after them. Returns what gives a test the browser. */
export function chromiumForTests(): () => Browser {
  let browser: Browser | undefined
  beforeAll(async () => {
    browser = await launchChromium()
  }, 60_000)
  afterAll(async () => await browser?.close())
  return () => browser as Browser
}
