/* Structs in every shape that scripts may have. The program tells how the C compiler lays them out, and with an argument
 * hands one to the kernel, where a script reads it. `tests/structs.rs` takes the definitions from between the marks. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* definitions */
enum colour { RED, GREEN = 7, BLUE };
enum wide { SMALL = -1, LARGE = 0x100000000 };
struct plain { char a; short b; char c; int d; char e; long f; char g; };
struct texts { char name[5]; unsigned char bytes[3]; char *pointer; short rows[2][3]; };
struct inner { char a; int b; };
struct nested { char a; struct inner b; struct { short x; char y; } c[2]; union { int i; char bytes[6]; } d; char e; };
struct unnamed { char a; struct { int b; short c; }; union { long d; char e; }; char f; };
union either { char a; int b; struct inner c; char d[13]; };
struct bits { int a : 3; int b : 7; unsigned int c : 12; unsigned int d : 12; int e : 1; char f; };
struct mixed { unsigned char a : 2; unsigned short b : 9; unsigned int c : 20; unsigned long d : 40; char e : 4; bool f : 1; };
struct gaps { int a : 5; int : 0; int b : 5; int : 7; int c : 20; char d; int : 3; char e; };
struct unpadded { char a; int b; short c; long d; struct inner e; } __attribute__((packed));
struct packed_bits { unsigned char a; unsigned int b : 5; unsigned int c : 30; unsigned long d : 33; int e : 9; } __attribute__((packed));
struct enums { char a; enum colour b; char c; enum wide d; bool e; double f; float g; };
struct list { struct list *next; struct later *later; int (*call)(int, void *); char last; };
struct later { short a; char rest[]; };
typedef struct inner inner_t;
typedef unsigned long word;
struct aliased { char a; inner_t b; char c; word d; };
/* end */

#define SIZE(type) printf("sizeof(" #type ") %zu\n", sizeof(type))
#define AT(type, member) printf("offsetof(" #type ", " #member ") %zu\n", offsetof(type, member))

struct sample {
	struct bits bits;
	struct mixed mixed;
	struct packed_bits packed;
	struct nested nested;
	struct texts texts;
	struct enums enums;
};

static const struct sample sample = {
	.bits = { -3, 41, 2901, 77, -1, 'f' },
	.mixed = { 2, 300, 1000001, 0x89abcdef12, -7, true },
	.packed = { 200, 19, 0x2aaaaaaa, 0x155555555, -200 },
	.nested = { 1, { -2, -70000 }, { { 300, 4 }, { -500, 6 } }, { .bytes = "sixth" }, 'e' },
	.texts = { "four", { 1, 255, 3 }, (char *)8, { { 1, 2, 3 }, { -4, -5, -6 } } },
	.enums = { 1, BLUE, 2, LARGE, true, 1.5, 2.5 },
};

int main(int count, char **words)
{
	if (count > 1) {
		/* No file: the script reads the bytes as the system call begins, from memory that is there by then. */
		struct sample copy = sample;
		return write(-1, &copy, sizeof(copy)) == -1 ? 0 : 1;
	}
	SIZE(struct plain); SIZE(struct texts); SIZE(struct nested); SIZE(struct unnamed); SIZE(union either);
	SIZE(struct bits); SIZE(struct mixed); SIZE(struct gaps); SIZE(struct unpadded); SIZE(struct packed_bits);
	SIZE(struct enums); SIZE(struct list); SIZE(struct later); SIZE(struct aliased); SIZE(enum colour); SIZE(enum wide);
	SIZE(word); SIZE(inner_t);
	AT(struct plain, b); AT(struct plain, c); AT(struct plain, d); AT(struct plain, e); AT(struct plain, f);
	AT(struct plain, g); AT(struct texts, bytes); AT(struct texts, pointer); AT(struct texts, rows);
	AT(struct nested, b); AT(struct nested, b.b); AT(struct nested, c); AT(struct nested, d); AT(struct nested, e);
	AT(struct unnamed, b); AT(struct unnamed, c); AT(struct unnamed, d); AT(struct unnamed, e); AT(struct unnamed, f);
	AT(struct bits, f); AT(struct gaps, d); AT(struct gaps, e);
	AT(struct unpadded, b); AT(struct unpadded, c); AT(struct unpadded, d); AT(struct unpadded, e);
	AT(struct enums, b); AT(struct enums, c); AT(struct enums, d); AT(struct enums, e); AT(struct enums, f);
	AT(struct enums, g); AT(struct list, later); AT(struct list, call); AT(struct list, last); AT(struct later, rest);
	AT(struct aliased, b); AT(struct aliased, c); AT(struct aliased, d);
	return 0;
}
