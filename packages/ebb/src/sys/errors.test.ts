import { expect, test } from 'vitest'
import { ERROR_CODES, WARNING_CODES } from './error-codes.js'
import { EbbError, errorName, invalidArgument, systemError, withCode } from './errors.js'

test('an EbbError is an Error with a code', () => {
  const error = new EbbError('ERR_EBB_UNSUPPORTED', 'no kernel')
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({ name: 'Error', code: 'ERR_EBB_UNSUPPORTED', message: 'no kernel' })
  expect(Object.keys(error)).toEqual(['code'])
})

test('a bad argument is a TypeError, and any standard error can have a code', () => {
  expect(invalidArgument('port must be a number')).toBeInstanceOf(TypeError)
  expect(invalidArgument('port must be a number')).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  const error = withCode(new RangeError('too large'), 'ERR_EBB_ATTACHMENT_TOO_LARGE')
  expect(error).toBeInstanceOf(RangeError)
  expect(error.code).toBe('ERR_EBB_ATTACHMENT_TOO_LARGE')
})

test('a system error has the shape of Node', () => {
  const error = systemError('bind', 98, '127.0.0.1:80')
  expect(error).toMatchObject({ code: 'EADDRINUSE', errno: -98, syscall: 'bind' })
  expect(error.message).toBe('bind EADDRINUSE: address already in use, 127.0.0.1:80')
  expect(systemError('bind', 9999)).toMatchObject({ code: 'E9999', message: 'bind E9999: error 9999' })
  expect(errorName(111)).toBe('ECONNREFUSED')
})

test('every code has its cause in one sentence', () => {
  for (const [code, cause] of Object.entries({ ...ERROR_CODES, ...WARNING_CODES })) {
    expect(code).toMatch(/^(?:ERR_[A-Z_]+|EBB_[A-Z_]+|E[A-Z]+|UNKNOWN)$/)
    expect(cause).toMatch(/^[A-Z`].*\.$/)
  }
})
