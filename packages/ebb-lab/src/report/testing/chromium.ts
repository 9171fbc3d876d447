/** Starts Chromium for tests. Tests that need it are skipped if it is not installed. */
import { existsSync } from 'node:fs'
import { type Browser, chromium } from 'playwright-core'

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
