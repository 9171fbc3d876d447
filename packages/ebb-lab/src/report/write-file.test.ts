import { expect, test } from 'vitest'
import { makeDirectory, writeWhole } from './write-file.js'

// On /proc even root is refused.
test.skipIf(process.platform !== 'linux')(
  'rejects with code, system call and path if a directory cannot be made or written',
  async () => {
    await expect(makeDirectory('/proc/ebb-report')).rejects.toMatchObject({
      code: 'ENOENT',
      syscall: 'mkdir',
      message: expect.stringMatching(/^cannot make the directory \/proc\/ebb-report/)
    })
    await expect(writeWhole('/proc/ebb.svg', 'x')).rejects.toMatchObject({
      syscall: 'open',
      message: expect.stringMatching(/^cannot write \/proc\/ebb\.svg/)
    })
  }
)
