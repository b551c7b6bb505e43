// Frames as crypto/tls of Go 1.16 has them: receiver, slice (pointer, length, capacity), n, err.
#include "textflag.h"

// Fills the buffer with the letter z.
TEXT ·read(SB), NOSPLIT, $0-56
	MOVQ data_base+8(FP), DI
	MOVQ data_len+16(FP), CX
	MOVQ CX, n+32(FP)
	MOVQ $0, err_itab+40(FP)
	MOVQ $0, err_data+48(FP)
	MOVB $122, AX
	CLD
	REP; STOSB
	RET

TEXT ·write(SB), NOSPLIT, $0-56
	MOVQ data_len+16(FP), CX
	MOVQ $0, err_itab+40(FP)
	MOVQ $0, err_data+48(FP)
	TESTQ CX, CX
	JZ   empty
	MOVQ CX, n+32(FP)
	RET
empty:
	MOVQ $0, n+32(FP)
	RET

// TLS 1.0 sends the first byte alone: `m, b = 1, b[1:]` changes the argument's slot.
TEXT ·splitWrite(SB), NOSPLIT, $0-56
	MOVQ data_len+16(FP), CX
	MOVQ CX, n+32(FP)
	INCQ data_base+8(FP)
	DECQ data_len+16(FP)
	MOVQ $0, err_itab+40(FP)
	MOVQ $0, err_data+48(FP)
	RET

TEXT ·closeConn(SB), NOSPLIT, $0-24
	MOVQ $0, err_itab+8(FP)
	MOVQ $0, err_data+16(FP)
	RET
